internal import Data
internal import DistributedTraining
internal import Model
internal import Support

/// A dataset as it is trained or evaluated on, and the tokenizer it was read with.
struct SampleSet {
  let dataset: Dataset
  /// Nil when the model directory has none; rows were tokens then.
  let tokenizer: LoadedTokenizer?
  /// Prompts and expected answers, where rows have both and they were asked for.
  let questions: [MatchEvaluation.Question]

  /// Reads a dataset.
  ///
  /// - Parameters:
  ///   - path: JSONL.
  ///   - options: templates and lengths.
  ///   - trainOn: which tokens are targets.
  ///   - modelDirectory: has the tokenizer.
  ///   - vocabularySize: token ids lie below it.
  ///   - limit: the first rows only; nil for all.
  ///   - keepsQuestions: whether prompts and answers are kept for the exact match.
  ///   - progress: called with bytes done and in all.
  /// - Throws: ``UserError`` for whatever is wrong with it.
  init(
    path: String, options: SampleOptions, trainOn: TrainConfiguration.TrainOn,
    modelDirectory: String, vocabularySize: Int, limit: Int? = nil,
    keepsQuestions: Bool = false,
    progress: (@Sendable (_ done: Int, _ total: Int) -> Void)? = nil
  ) throws {
    let reader = try DatasetReader(
      path: path,
      prompt: options.prompt.map { text throws(UserError) in
        try RowTemplate(text, name: "--prompt")
      },
      completion: options.completion.map { text throws(UserError) in
        try RowTemplate(text, name: "--completion")
      },
      vocabularySize: vocabularySize)
    let tokenizer: LoadedTokenizer?
    do {
      tokenizer = try Self.tokenizer(of: modelDirectory, vocabularySize: vocabularySize)
    } catch {
      // Rows of tokens need none, so that one of an unknown kind does not matter.
      guard (try? reader.holdsTokens()) == true else { throw error }
      tokenizer = nil
    }
    let builder = SampleBuilder(
      tokenizer,
      settings: SampleBuilder.Settings(
        trainOn: trainOn == .all ? .all : .completion, maxLength: options.maxLength,
        overlength: SampleBuilder.Overlength(rawValue: options.overlength.rawValue) ?? .error))
    dataset = try builder.build(reader, limit: limit, progress: progress)
    self.tokenizer = tokenizer

    var questions: [MatchEvaluation.Question] = []
    if let tokenizer, keepsQuestions {
      let bos = tokenizer.addsBOS ? tokenizer.tokenizer.bosID.map { [$0] } ?? [] : []
      var rowCount = 0
      try reader.forEachRow { entry in
        guard rowCount < limit ?? .max else { return false }
        rowCount += 1
        guard case .pair(let prompt, let completion) = entry.row else { return true }
        questions.append(
          MatchEvaluation.Question(
            prompt: bos + (try tokenizer.tokenizer.encode(prompt, isContinuation: false)),
            answer: completion))
        return true
      }
    }
    self.questions = questions
  }

  /// The tokenizer of a model directory; nil where there is none.
  private static func tokenizer(of directory: String, vocabularySize: Int) throws(UserError)
    -> LoadedTokenizer?
  {
    let isThere = TokenizerFactory.fileNames.contains {
      $0.hasPrefix("tokenizer.") && FileSystem.exists("\(directory)/\($0)")
    }
    guard isThere else { return nil }
    let loaded = try TokenizerFactory.load(directory: directory)
    guard loaded.tokenizer.vocabularySize <= vocabularySize else {
      throw UserError(
        .badInput, at: loaded.path,
        "the tokenizer has \(loaded.tokenizer.vocabularySize) tokens, but the model's "
          + "vocabulary \(vocabularySize)",
        fix: "use the tokenizer that belongs to the model")
    }
    return loaded
  }

  /// SHA-256 over all tokens and labels.
  var digest: String {
    var hash = SHA256()
    for sample in dataset.samples {
      let numbers = [Int32(sample.tokens.count)] + sample.tokens + sample.labels
      hash.update(
        numbers.flatMap { number in
          let bits = UInt32(bitPattern: number)
          return [
            UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8),
            UInt8(truncatingIfNeeded: bits >> 16), UInt8(truncatingIfNeeded: bits >> 24),
          ]
        })
    }
    return hash.finish()
  }

  /// Ids that end a generated text: the tokenizer's and those of config.json.
  func endIDs(_ configuration: ModelConfiguration) -> Set<Int32> {
    var ids = Set(configuration.eosIDs.map { Int32(truncatingIfNeeded: $0) })
    if let id = tokenizer?.tokenizer.eosID { ids.insert(id) }
    return ids
  }
}
