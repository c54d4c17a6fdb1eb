internal import Support

/// One row of a dataset.
package enum Row: Sendable, Equatable {
  /// A question and its answer.
  case pair(prompt: String, completion: String)
  /// A text of which every token is learned.
  case text(String)
  /// Tokens and, for each, the label that belongs to it; -100 where it is not learned.
  case tokens([Int32], labels: [Int32])
  /// Messages of several speakers; the model's chat template makes a text of them.
  case conversation(Conversation)
}

/// How the rows of a dataset are read.
package enum RowFormat: Sendable, Equatable {
  case pair(prompt: RowTemplate, completion: RowTemplate)
  case text
  case tokens
  /// Instruction, input and output, put into Alpaca's prompt.
  case alpaca
  /// A list of messages under this column: `messages` as OpenAI's, `conversations` as ShareGPT's.
  case conversation(column: String)

  /// What the user is told: the format and the columns that it reads.
  package var summary: String {
    switch self {
    case .pair(let prompt, let completion):
      "prompt and answer, from \(Self.list(prompt.columns + completion.columns))"
    case .text: "text, from the column \"text\""
    case .tokens: "tokens, from the columns \"input_ids\" and \"labels\""
    case .alpaca: "Alpaca, from the columns \"instruction\", \"input\" and \"output\""
    case .conversation(let column):
      "conversations, from the columns \"\(column)\" and \"tools\""
    }
  }

  private static func list(_ columns: [String]) -> String {
    var seen: [String] = []
    for column in columns where !seen.contains(column) { seen.append(column) }
    let quoted = seen.map { "\"\($0)\"" }
    guard let last = quoted.last else { return "no column" }
    return quoted.count == 1
      ? "the column \(last)"
      : "the columns \(quoted.dropLast().joined(separator: ", ")) and \(last)"
  }

  /// The format that the columns of a first row tell.
  ///
  /// - Parameters:
  ///   - row: the row.
  ///   - location: file and line, for errors.
  /// - Returns: the format, which every row of the file then has.
  /// - Throws: `UserError` when the columns are none of a known format.
  static func detect(_ row: JSONObject, at location: String) throws(UserError) -> RowFormat {
    if row["input_ids"] != nil { return .tokens }
    for column in ["messages", "conversations"] where row[column] != nil {
      return .conversation(column: column)
    }
    if row["instruction"] != nil && row["output"] != nil { return .alpaca }
    for (prompt, completion) in [("prompt", "completion"), ("input", "output")]
    where row[prompt] != nil && row[completion] != nil {
      return .pair(
        prompt: try RowTemplate("{\(prompt)}", name: "the default prompt"),
        completion: try RowTemplate("{\(completion)}", name: "the default completion"))
    }
    if row["text"] != nil { return .text }
    throw UserError(
      .badInput, at: location,
      "the row has \(row.columnList), which is no known format: \"input\" and \"output\", "
        + "\"prompt\" and \"completion\", \"instruction\" and \"output\", \"messages\", "
        + "\"conversations\", \"text\", or \"input_ids\"",
      fix: "name the columns: --prompt 'Question: {question}' --completion '{answer}'")
  }

  /// Reads one row.
  ///
  /// - Parameters:
  ///   - row: its columns.
  ///   - location: file and line, for errors.
  ///   - vocabularySize: token ids lie below it.
  /// - Returns: the row in this format.
  /// - Throws: `UserError` when a column is missing or holds what the format has no use for.
  func read(_ row: JSONObject, at location: String, vocabularySize: Int) throws(UserError) -> Row {
    switch self {
    case .pair(let prompt, let completion):
      return .pair(
        prompt: try prompt.render(row, at: location),
        completion: try completion.render(row, at: location))
    case .text:
      guard let value = row["text"] else {
        throw Self.missing("text", row, location)
      }
      guard let text = value.stringValue else {
        throw UserError(
          .badInput, at: location, "the column \"text\" is \(value.kindName), not a text",
          fix: "write the value as a string")
      }
      return .text(text)
    case .tokens: return try Self.tokens(row, location, vocabularySize)
    case .alpaca: return try AlpacaPrompt.read(row, at: location)
    case .conversation(let column):
      return .conversation(try Conversation(row, column: column, at: location))
    }
  }

  private static func missing(_ column: String, _ row: JSONObject, _ location: String)
    -> UserError
  {
    UserError(
      .badInput, at: location,
      "the column \"\(column)\" is missing; the row has \(row.columnList)",
      fix: "give every row the same columns as the first")
  }

  private static func tokens(_ row: JSONObject, _ location: String, _ vocabularySize: Int)
    throws(UserError) -> Row
  {
    func integers(_ column: String, _ value: JSONValue, _ allowsIgnored: Bool)
      throws(UserError) -> [Int32]
    {
      guard let list = value.arrayValue else {
        throw UserError(
          .badInput, at: location, "the column \"\(column)\" is \(value.kindName), not a list")
      }
      var result: [Int32] = []
      result.reserveCapacity(list.count)
      for (index, element) in list.enumerated() {
        guard let id = element.intValue,
          (0..<vocabularySize).contains(id) || (allowsIgnored && id == Int(Sample.ignoredLabel))
        else {
          let value = element.intValue.map { "\($0)" } ?? element.kindName
          throw UserError(
            .badInput, at: location,
            "\(column)[\(index)] is \(value), not a token id from 0 to \(vocabularySize - 1)"
              + (allowsIgnored ? " and not \(Sample.ignoredLabel)" : ""),
            fix: "make the token rows with the tokenizer of this model")
        }
        result.append(Int32(id))
      }
      return result
    }
    guard let idsValue = row["input_ids"] else { throw missing("input_ids", row, location) }
    let ids = try integers("input_ids", idsValue, false)
    guard !ids.isEmpty else {
      throw UserError(
        .badInput, at: location, "input_ids is empty, but a row needs at least 1 token",
        fix: "delete the line")
    }
    guard let labelsValue = row["labels"] else { return .tokens(ids, labels: ids) }
    let labels = try integers("labels", labelsValue, true)
    guard labels.count == ids.count else {
      throw UserError(
        .badInput, at: location,
        "input_ids has \(ids.count) elements and labels \(labels.count), but each token has one label",
        fix: "write one label for each token, -100 where it is not learned")
    }
    return .tokens(ids, labels: labels)
  }
}
