internal import Support

/// The prompt that Stanford Alpaca was trained with, which tools use for rows of `instruction`,
/// `input` and `output`.
///
/// It is the same for every model. Another prompt is given with `--prompt` and `--completion`.
enum AlpacaPrompt {
  private static let withInput = """
    Below is an instruction that describes a task, paired with an input that provides further \
    context. Write a response that appropriately completes the request.


    """
  private static let withoutInput = """
    Below is an instruction that describes a task. Write a response that appropriately completes \
    the request.


    """

  /// The prompt and the answer of a row.
  ///
  /// - Parameters:
  ///   - row: its columns; `input` may be missing or empty.
  ///   - location: file and line, for errors.
  /// - Returns: a pair.
  /// - Throws: `UserError` for a column that is missing or no text, and for a `history` or `system`,
  ///   which the prompt has no place for.
  static func read(_ row: JSONObject, at location: String) throws(UserError) -> Row {
    func text(_ column: String, isOptional: Bool) throws(UserError) -> String {
      switch row[column] {
      case .string(let text): return text
      case nil where isOptional, .null where isOptional: return ""
      default:
        let found = row[column].map { "is \($0.kindName), not a text" } ?? "is missing"
        throw UserError(
          .badInput, at: location,
          "the column \"\(column)\" \(found); the row has \(row.columnList)",
          fix: "write \"instruction\", \"output\" and, where there is one, \"input\" as texts")
      }
    }
    for column in ["history", "system"] {
      let isEmpty =
        switch row[column] {
        case nil, .null, .string(""), .array([]): true
        default: false
        }
      guard isEmpty else {
        throw UserError(
          .badInput, at: location,
          "the column \"\(column)\" is filled, but Alpaca's prompt has no place for it",
          fix: "write the rows as conversations, with the column \"messages\"")
      }
    }
    let instruction = try text("instruction", isOptional: false)
    let input = try text("input", isOptional: true)
    let output = try text("output", isOptional: false)
    let prompt =
      input.isEmpty
      ? withoutInput + "### Instruction:\n\(instruction)\n\n### Response:\n"
      : withInput + "### Instruction:\n\(instruction)\n\n### Input:\n\(input)\n\n### Response:\n"
    return .pair(prompt: prompt, completion: output)
  }
}
