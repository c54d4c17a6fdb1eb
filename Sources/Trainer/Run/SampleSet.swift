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
  /// How rows were read, and with which chat template.
  let formatSummary: String
  /// What ends a turn in the questions' chat template.
  let turnEndIDs: Set<Int32>

  /// What is read, and how.
  struct Request {
    var sources: [DataSource]
    var options: SampleOptions
    var trainOn: TrainConfiguration.TrainOn
    /// Has the tokenizer.
    var modelDirectory: String
    /// Token ids lie below it.
    var vocabularySize: Int
    /// The first rows of each file only; nil for all.
    var limit: Int?
    /// Whether prompts and answers are kept for the exact match.
    var keepsQuestions = false
    var holdOut: HoldOut?
  }

  /// Reads data files.
  ///
  /// - Parameters:
  ///   - request: which, and how.
  ///   - cache: keeps their tokens.
  /// - Returns: what is trained or evaluated, and what is held out.
  /// - Throws: ``UserError`` for whatever is wrong with them.
  static func load(_ request: Request, cache: TokenCache) throws -> (
    training: SampleSet, heldOut: SampleSet?
  ) {
    let tokenized = try TokenizedFiles(request, cache: cache)
    let (training, heldOut) = try Dataset.make(
      tokenized.sources, with: tokenized.builder, holdOut: request.holdOut)
    let (questions, turnEndIDs) =
      request.keepsQuestions ? try tokenized.questions(limit: request.limit) : ([], [])
    func set(_ dataset: Dataset, _ questions: [MatchEvaluation.Question]) -> SampleSet {
      SampleSet(
        dataset: dataset, tokenizer: tokenized.tokenizer, questions: questions,
        formatSummary: tokenized.formatSummary, turnEndIDs: turnEndIDs)
    }
    return (set(training, questions), heldOut.map { set($0, []) })
  }

  /// Ids that end a generated text: the tokenizer's, those of config.json and of the chat template.
  func endIDs(_ configuration: ModelConfiguration) -> Set<Int32> {
    var ids = turnEndIDs.union(configuration.eosIDs.map { Int32(truncatingIfNeeded: $0) })
    if let id = tokenizer?.tokenizer.eosID { ids.insert(id) }
    return ids
  }

  /// Throws on ranks whose host has other data than the first rank's.
  func checkAgreement(_ group: any ProcessGroup) throws {
    guard group.worldSize > 1, try group.broadcast(dataset.digest) != dataset.digest else { return }
    throw UserError(
      .badInput, at: "--data", "rank \(group.rank) has other samples than rank 0",
      fix: "copy the same data and tokenizer files to every host")
  }

  /// Tells the user what was read.
  ///
  /// - Parameters:
  ///   - reporter: takes the lines.
  ///   - label: what the samples are for.
  func report(_ reporter: Reporter, label: String = "data") {
    for source in dataset.sources {
      let origin = source.store.origin
      let names = origin.columns.prefix(8) + (origin.columns.count > 8 ? ["..."] : [])
      let weight = source.weight == 1 ? "" : ", weight \(OptionValue.number(source.weight).text)"
      reporter.note(
        "\(label) \(origin.path): \(origin.format), \(source.store.rowCount) rows of "
          + names.joined(separator: ", ") + weight)
    }
    reporter.note("rows: \(formatSummary)")
    let summary = dataset.summary
    var line =
      "\(label): \(summary.rows) rows, \(summary.tokens) tokens, "
      + "\(summary.targetTokens) trained, longest \(summary.longest)"
    if summary.dropped > 0 { line += ", \(summary.dropped) dropped as too long" }
    if summary.truncated > 0 { line += ", \(summary.truncated) prompts cut" }
    if summary.split > 0 { line += ", \(summary.split) split; \(dataset.samples.count) samples" }
    reporter.note(line)
  }
}
