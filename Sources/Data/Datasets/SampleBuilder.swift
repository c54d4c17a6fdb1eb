internal import Support

/// Turns the rows of a dataset into samples.
package struct SampleBuilder: Sendable {
  package enum TrainOn: String, Sendable, CaseIterable {
    /// The answer and its end token.
    case completion
    /// The prompt as well.
    case all
  }

  /// What happens to samples of more tokens than `maxLength`.
  package enum Overlength: String, Sendable, CaseIterable {
    case error
    /// The whole sample is left out.
    case drop
    /// The prompt loses tokens at its left; the answer stays whole.
    case truncatePrompt = "truncate-prompt"
  }

  package struct Settings: Sendable, Equatable {
    package var trainOn: TrainOn
    /// The most tokens of a sample; nil for any length.
    package var maxLength: Int?
    package var overlength: Overlength

    package init(
      trainOn: TrainOn = .completion, maxLength: Int? = nil, overlength: Overlength = .error
    ) {
      self.trainOn = trainOn
      self.maxLength = maxLength
      self.overlength = overlength
    }
  }

  /// Nil serves rows that are tokens already.
  private let tokenizer: (any Tokenizer)?
  private let bosID: Int32?
  private let settings: Settings

  /// - Parameters:
  ///   - loaded: the tokenizer; without one every row must be tokens.
  ///   - settings: what is trained, and how long samples may be.
  package init(_ loaded: LoadedTokenizer?, settings: Settings = Settings()) {
    tokenizer = loaded?.tokenizer
    bosID = loaded?.addsBOS == true ? loaded?.tokenizer.bosID : nil
    self.settings = settings
  }

  /// A sample of any length with what the length rule needs to know.
  struct Draft {
    var sample: Sample
    /// Tokens from here on must not be cut.
    var answerStart: Int
    /// Whether the row itself decides which tokens are learned.
    var isTokenRow: Bool
  }

  /// Tokens and labels of one row: the token that begins sequences, prompt, answer, end token.
  func draft(_ row: Row) throws -> Draft {
    if case .tokens(let ids, let labels) = row {
      let first = labels.dropFirst().firstIndex { $0 != Sample.ignoredLabel } ?? labels.count
      return Draft(
        sample: Sample(tokens: ids, labels: labels), answerStart: first, isTokenRow: true)
    }
    guard let tokenizer else {
      throw UserError(
        .badInput, "the row is text, but the model directory has no tokenizer",
        fix: "put tokenizer.json or tokenizer.model into the model directory, or give rows of "
          + "input_ids and labels")
    }
    var tokens = bosID.map { [$0] } ?? []
    let bosCount = tokens.count
    let answerStart: Int
    switch row {
    case .tokens: preconditionFailure("token rows were taken above")
    case .pair(let prompt, let completion):
      tokens += try tokenizer.encode(prompt, isContinuation: false)
      answerStart = tokens.count
      tokens += try tokenizer.encode(completion, isContinuation: true)
    case .text(let text):
      answerStart = bosCount
      tokens += try tokenizer.encode(text, isContinuation: false)
    }
    if let eosID = tokenizer.eosID { tokens.append(eosID) }
    guard !tokens.isEmpty else {
      throw UserError(
        .badInput, "the row has no tokens, and the tokenizer has none to begin or end it with",
        fix: "delete the line")
    }
    let learned = settings.trainOn == .all ? 0 : answerStart
    var labels = [Int32](repeating: Sample.ignoredLabel, count: tokens.count)
    for index in max(learned, 1)..<max(tokens.count, 1) { labels[index] = tokens[index] }
    return Draft(
      sample: Sample(tokens: tokens, labels: labels), answerStart: answerStart, isTokenRow: false)
  }

  /// Reads and tokenizes a whole dataset.
  ///
  /// - Parameters:
  ///   - reader: the dataset.
  ///   - limit: the first rows only; nil for all.
  ///   - progress: called now and then with bytes done and bytes in all.
  /// - Returns: the samples in file order, and their numbers.
  /// - Throws: `UserError` for the first row that is wrong, for rows that are too long unless a
  ///   policy takes care of them, and for a dataset that nothing can be learned from.
  package func build(
    _ reader: DatasetReader, limit: Int? = nil,
    progress: ((_ done: Int, _ total: Int) -> Void)? = nil
  ) throws -> Dataset {
    var dataset = Dataset()
    var lengthRule = LengthRule(settings, bosID: tokenizer?.bosID)
    var endTokenCount = 0
    var tokenRowCount = 0
    try reader.forEachRow(progress: progress) { entry in
      let (row, line) = (entry.row, entry.line)
      guard dataset.summary.rows < limit ?? .max else { return false }
      let draft: Draft
      do {
        draft = try self.draft(row)
      } catch var error as UserError {
        if error.location.isEmpty { error.location = "\(reader.path):\(line)" }
        throw error
      }
      dataset.summary.rows += 1
      if draft.isTokenRow { tokenRowCount += 1 }
      guard let sample = lengthRule.apply(draft, line: line) else { return true }
      if let eosID = tokenizer?.eosID, sample.tokens.count > 1, sample.labels.last == eosID {
        endTokenCount += 1
      }
      dataset.append(sample, line: line)
      return true
    }
    try lengthRule.check(path: reader.path, rowCount: dataset.summary.rows)
    dataset.summary.dropped = lengthRule.droppedCount
    dataset.summary.truncated = lengthRule.truncatedCount
    try check(dataset, endTokenCount, hasOwnLabels: tokenRowCount > 0, path: reader.path)
    return dataset
  }

  private func check(
    _ dataset: Dataset, _ endTokenCount: Int, hasOwnLabels: Bool, path: String
  ) throws(UserError) {
    let summary = dataset.summary
    guard summary.targetTokens > 0 else {
      throw UserError(
        .badInput, at: path,
        "nothing to learn: \(summary.rows) rows (\(summary.dropped) dropped) with "
          + "\(summary.tokens) tokens hold 0 target tokens",
        fix: hasOwnLabels
          ? "give tokens after the first a label other than \(Sample.ignoredLabel)"
          : "raise --max-length, or look at the rows with the data command")
    }
    guard hasOwnLabels || endTokenCount > 0 else {
      throw UserError(
        .badInput, at: path,
        "of \(dataset.samples.count) samples 0 train the end token, so the model would never learn "
          + "to stop",
        fix: "name the end token as eos_token in the model's tokenizer_config.json")
    }
  }
}
