package import Support

/// Turns the rows of a dataset into samples.
package struct SampleBuilder: Sendable {
  package enum TrainOn: String, Sendable, CaseIterable {
    /// Answers and their end tokens: in a conversation every turn of the assistant.
    case completion
    /// The same under the name that conversations give it.
    case assistant
    /// Only the last answer of a conversation.
    case last
    /// Everything.
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
  /// Of the model; a failure matters only when rows are conversations.
  private let chatTemplates: Result<ChatTemplates, UserError>

  /// - Parameters:
  ///   - loaded: the tokenizer; without one every row must be tokens.
  ///   - settings: what is trained, and how long samples may be.
  ///   - chatTemplates: what makes a text of conversations, or why there is nothing to do it.
  package init(
    _ loaded: LoadedTokenizer?, settings: Settings = Settings(),
    chatTemplates: Result<ChatTemplates, UserError> = .failure(
      UserError(.badInput, "the rows are conversations, but there is no chat template"))
  ) {
    self.chatTemplates = chatTemplates
    tokenizer = loaded?.tokenizer
    bosID = loaded?.addsBOS == true ? loaded?.tokenizer.bosID : nil
    self.settings = settings
  }

  /// A sample of any length with what the length rule needs to know.
  struct Draft: Sendable {
    var sample: Sample
    /// Tokens from here on must not be cut.
    var answerStart: Int
    /// Whether the row itself decides which tokens are learned.
    var isTokenRow: Bool
    /// Whether the last token that is learned ends an answer.
    var trainsEnd: Bool
  }

  /// Tokens and labels of one row: the token that begins sequences, prompt, answer, end token.
  func draft(_ row: Row) throws -> Draft {
    if case .tokens(let ids, let labels) = row {
      let first = labels.dropFirst().firstIndex { $0 != Sample.ignoredLabel } ?? labels.count
      return Draft(
        sample: Sample(tokens: ids, labels: labels), answerStart: first, isTokenRow: true,
        trainsEnd: ids.count > 1 && tokenizer?.eosID.map { labels.last == $0 } ?? false)
    }
    guard let tokenizer else {
      throw UserError(
        .badInput, "the row is text, but the model directory has no tokenizer",
        fix: "put tokenizer.json or tokenizer.model into the model directory, or give rows of "
          + "input_ids and labels")
    }
    if case .conversation(let conversation) = row { return try draft(conversation, tokenizer) }
    var tokens = bosID.map { [$0] } ?? []
    let bosCount = tokens.count
    let answerStart: Int
    switch row {
    case .tokens, .conversation: preconditionFailure("these rows were taken above")
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
      sample: Sample(tokens: tokens, labels: labels), answerStart: answerStart, isTokenRow: false,
      trainsEnd: tokens.count > 1 && tokenizer.eosID != nil && labels.last == tokenizer.eosID)
  }

  /// Tokens and labels of a conversation as its template writes it; no token is added to these.
  private func draft(_ conversation: Conversation, _ tokenizer: any Tokenizer) throws -> Draft {
    let template = try chatTemplates.get().template(of: conversation)
    let encoder = ConversationEncoder(template, tokenizer)
    let encoded = try encoder.encode(
      conversation, findsAnswers: settings.trainOn != .all)
    var labels = [Int32](repeating: Sample.ignoredLabel, count: encoded.ids.count)
    let answers = zip(conversation.assistantTurns, encoded.answers)
      .filter { conversation.isTrained($0.0) }.map(\.1)
    let learned =
      switch settings.trainOn {
      case .all: [0..<encoded.ids.count]
      case .last: Array(answers.suffix(1))
      case .assistant, .completion: answers
      }
    guard !learned.isEmpty else {
      throw UserError(
        .badInput,
        "every answer of the conversation has the weight 0, so there is nothing to learn",
        fix: "delete the line")
    }
    for range in learned {
      for index in range where index > 0 { labels[index] = encoded.ids[index] }
    }
    return Draft(
      sample: Sample(tokens: encoded.ids, labels: labels),
      answerStart: learned.first?.lowerBound ?? 0, isTokenRow: false,
      trainsEnd: encoded.endsAnswer)
  }

  /// The tokens of rows that were read together.
  ///
  /// - Parameters:
  ///   - rows: of one file.
  ///   - path: of the file, for errors.
  ///   - threads: how many threads work; the drafts do not depend on it.
  /// - Returns: one draft a row.
  /// - Throws: `UserError` for the first row that is wrong.
  func drafts(_ rows: [DatasetRow], path: String, threads: Int) throws -> [Draft] {
    // Parts of several rows keep threads from meeting at every one.
    let size = max(1, min(64, rows.count / (8 * max(1, threads))))
    let partCount = (rows.count + size - 1) / size
    return try ParallelMap.values(count: partCount, threads: threads) { part in
      try rows[part * size..<min((part + 1) * size, rows.count)].map { entry in
        do {
          return try draft(entry.row)
        } catch var error as UserError {
          if error.location.isEmpty { error.location = "\(path):\(entry.line)" }
          throw error
        }
      }
    }.flatMap { $0 }
  }

  /// The token that begins sequences, whether or not it is put before rows.
  var tokenizerBOS: Int32? { tokenizer?.bosID }
}
