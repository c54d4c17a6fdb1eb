package import Support

/// The messages of one row, in the form that chat templates read.
package struct Conversation: Sendable, Equatable {
  /// Objects with `role` and `content`, and whatever else the row has.
  package var messages: [JSONValue]
  /// The functions that the model may call; nil for none.
  package var tools: JSONValue?

  package init(messages: [JSONValue], tools: JSONValue? = nil) {
    self.messages = messages
    self.tools = tools
  }

  /// The positions of the assistant's messages.
  package var assistantTurns: [Int] {
    messages.indices.filter { messages[$0]["role"] == "assistant" }
  }

  /// Whether an assistant's message is trained: all are but those of `"weight": 0`.
  func isTrained(_ turn: Int) -> Bool { messages[turn]["weight"]?.doubleValue != 0 }

  /// The roles whose messages have their text in parts.
  var rolesInParts: Set<String> {
    Set(
      messages.lazy.filter { $0["content"]?.arrayValue != nil }.compactMap {
        $0["role"]?.stringValue
      })
  }

  /// The same with each text in one piece in messages of some roles.
  func joined(_ roles: Set<String>) -> Conversation {
    var copy = self
    for index in messages.indices {
      guard var message = messages[index].objectValue, let parts = message["content"]?.arrayValue,
        let role = message["role"]?.stringValue, roles.contains(role)
      else { continue }
      message["content"] = .string(parts.compactMap { $0["text"]?.stringValue }.joined())
      copy.messages[index] = .object(message)
    }
    return copy
  }

  /// A conversation that ends before a message.
  func prefix(_ count: Int) -> Conversation {
    Conversation(messages: Array(messages.prefix(count)), tools: tools)
  }
}

extension Conversation {
  /// Reads a row.
  ///
  /// - Parameters:
  ///   - row: its columns.
  ///   - column: `messages` or `conversations`.
  ///   - location: file and line, for errors.
  /// - Throws: `UserError` for a message without its parts, a name that is no role, a conversation
  ///   without messages or without an answer.
  init(_ row: JSONObject, column: String, at location: String) throws(UserError) {
    func broken(_ message: String, fix: String) -> UserError {
      UserError(.badInput, at: location, message, fix: fix)
    }
    guard let list = row[column]?.arrayValue else {
      let found = row[column].map { "is \($0.kindName)" } ?? "is missing"
      throw broken(
        "the column \"\(column)\" \(found), but a list of messages is needed; the row has "
          + row.columnList,
        fix: "give every row the same columns as the first")
    }
    guard !list.isEmpty else {
      throw broken("the conversation has no messages", fix: "delete the line")
    }
    messages = []
    if let system = row["system"]?.stringValue, !system.isEmpty, column == "conversations" {
      messages.append(["role": "system", "content": .string(system)])
    }
    for (index, entry) in list.enumerated() {
      guard let object = entry.objectValue else {
        throw broken(
          "\(column)[\(index)] is \(entry.kindName), not a message",
          fix: #"write messages as {"role": "user", "content": "..."}"#)
      }
      let place = "\(column)[\(index)]"
      try Self.checkWeight(object["weight"], place, location)
      let isShareGPT = object["from"] != nil && object["role"] == nil
      var message =
        try isShareGPT
        ? Self.shareGPT(object, place, location) : Self.message(object, place, location)
      if isShareGPT, let weight = object["weight"], var known = message.objectValue {
        known["weight"] = weight
        message = .object(known)
      }
      messages.append(message)
    }
    tools = try Self.tools(row["tools"], location)
    guard !assistantTurns.isEmpty else {
      throw broken(
        "no message of the conversation is the assistant's, so there is nothing to learn",
        fix: "add the answer, or delete the line")
    }
  }

  private static func message(_ object: JSONObject, _ place: String, _ location: String)
    throws(UserError) -> JSONValue
  {
    guard let role = object["role"]?.stringValue, !role.isEmpty else {
      throw UserError(
        .badInput, at: location, "\(place) has no \"role\"; it has \(object.columnList)",
        fix: #"write messages as {"role": "user", "content": "..."}"#)
    }
    let hasCall = ["tool_calls", "function_call"].contains {
      object[$0].map { !$0.isNull } ?? false
    }
    switch object["content"] {
    case .string: break
    case .array(let parts):
      var object = object
      try readParts(parts, of: &object, place, location)
      return .object(object)
    case nil where hasCall, .null where hasCall: break
    default:
      throw UserError(
        .badInput, at: location,
        "\(place) has no \"content\" that is a text; it has \(object.columnList)",
        fix: #"write messages as {"role": "user", "content": "..."}"#)
    }
    return .object(object)
  }

  /// What ShareGPT and the tools that follow it call the roles.
  private static let roles = [
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "chatgpt": "assistant", "model": "assistant", "system": "system", "tool": "tool",
    "observation": "tool", "function_call": "assistant",
  ]

  private static func checkWeight(_ weight: JSONValue?, _ place: String, _ location: String)
    throws(UserError)
  {
    guard let weight, !weight.isNull, weight.doubleValue != 0, weight.doubleValue != 1 else {
      return
    }
    throw UserError(
      .badInput, at: location, "\(place) has the weight \(weight.compactText)",
      fix: "give an answer that is not to be trained the weight 0, and others none")
  }

  private static func shareGPT(_ object: JSONObject, _ place: String, _ location: String)
    throws(UserError) -> JSONValue
  {
    guard let name = object["from"]?.stringValue, let role = roles[name] else {
      let name = object["from"]?.stringValue.map { "\"\($0)\"" } ?? "no text"
      throw UserError(
        .badInput, at: location, "\(place).from is \(name), which is no known speaker",
        fix: "use one of \(roles.keys.sorted().joined(separator: ", "))")
    }
    guard let value = object["value"]?.stringValue else {
      throw UserError(
        .badInput, at: location,
        "\(place) has no \"value\" that is a text; it has \(object.columnList)",
        fix: #"write messages as {"from": "human", "value": "..."}"#)
    }
    guard name == "function_call" else {
      return ["role": .string(role), "content": .string(value)]
    }
    guard let call = try? JSONParser.parse(value), call["name"]?.stringValue != nil else {
      throw UserError(
        .badInput, at: location, "\(place) is a function call, but its value has no \"name\"",
        fix: #"write the value as {"name": "...", "arguments": {...}}"#)
    }
    return [
      "role": "assistant", "content": "",
      "tool_calls": [["type": "function", "function": call]],
    ]
  }

  /// Tools may be written as a list or as a text that holds one.
  private static func tools(_ value: JSONValue?, _ location: String) throws(UserError)
    -> JSONValue?
  {
    var value = value ?? .null
    if let text = value.stringValue {
      guard !text.isEmpty else { return nil }
      value = (try? JSONParser.parse(text)) ?? value
    }
    if value.isNull { return nil }
    guard let list = value.arrayValue else {
      throw UserError(
        .badInput, at: location, "the column \"tools\" is no list of functions",
        fix: "write the tools as a list of JSON schemas")
    }
    return list.isEmpty ? nil : value
  }
}
