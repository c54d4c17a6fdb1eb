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
    /// The sample becomes several; each begins with the last token of the one before, and loses
    /// what came before that.
    case split
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
  var settings: Settings

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

  /// The tokens of rows that were read together.
  ///
  /// - Parameters:
  ///   - rows: of one file.
  ///   - path: of the file, for errors.
  /// - Returns: one draft a row.
  /// - Throws: `UserError` for the first row that is wrong.
  func drafts(_ rows: [DatasetRow], path: String) throws -> [Draft] {
    try rows.map { entry in
      do {
        return try draft(entry.row)
      } catch var error as UserError {
        if error.location.isEmpty { error.location = "\(path):\(entry.line)" }
        throw error
      }
    }
  }

  /// The token that ends an answer, where there is one.
  var eosID: Int32? { tokenizer?.eosID }
  /// The token that begins sequences, whether or not it is put before rows.
  var tokenizerBOS: Int32? { tokenizer?.bosID }
}
