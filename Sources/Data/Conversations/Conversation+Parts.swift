internal import Support

/// Messages whose content is a list of parts.
extension Conversation {
  /// Reads the parts of a message: texts as OpenAI writes them, or as LLaMA-Factory does, with `value`
  /// in place of `text`, which also has parts for reasoning and for calls of functions.
  ///
  /// - Parameters:
  ///   - parts: of the message.
  ///   - message: gets texts as its content, and beside it what templates read under other names.
  ///   - place: of the message, for errors.
  ///   - location: file and line, for errors.
  /// - Throws: `UserError` for a part that is nothing of the sort.
  static func readParts(
    _ parts: [JSONValue], of message: inout JSONObject, _ place: String, _ location: String
  ) throws(UserError) {
    var texts: [JSONValue] = []
    var reasoning = ""
    var calls: [JSONValue] = []
    for (index, part) in parts.enumerated() {
      let kind = part["type"]?.stringValue ?? "none"
      func broken(_ reason: String) -> UserError {
        UserError(
          .badInput, at: location, "\(place).content[\(index)] \(reason)",
          fix: #"write each part as {"type": "text", "text": "..."}, or delete the line"#)
      }
      let text = part["text"]?.stringValue ?? part["value"]?.stringValue
      switch (kind, text) {
      case ("text", let text?): texts.append(["type": "text", "text": .string(text)])
      case ("reasoning", let text?): reasoning += text
      case ("tool_call", let text?):
        guard let call = try? JSONParser.parse(text), call["name"]?.stringValue != nil else {
          throw broken("is a call of a function, but its value has no \"name\"")
        }
        calls.append(["type": "function", "function": call])
      case ("text", nil), ("reasoning", nil), ("tool_call", nil):
        throw broken("has no \"text\" that is a text")
      default: throw broken("has the type \"\(kind)\", but only text is trained")
      }
    }
    message["content"] = .array(texts)
    if texts.isEmpty, !parts.isEmpty { message["content"] = "" }
    if !reasoning.isEmpty { message["reasoning_content"] = .string(reasoning) }
    if !calls.isEmpty {
      message["tool_calls"] = .array((message["tool_calls"]?.arrayValue ?? []) + calls)
    }
  }
}
