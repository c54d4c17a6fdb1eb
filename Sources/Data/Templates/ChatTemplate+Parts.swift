internal import Support
internal import Synchronization

extension ChatTemplate {
  /// Roles of which is known whether a template reads their text in parts.
  final class PartReading: Sendable {
    let roles = Mutex<[String: Bool]>([:])
  }

  /// Whether the template reads `content` that is a list of parts in messages of a role, as those of
  /// models do that also take images. It is tried out: others refuse the list, or write it as it
  /// looks in Python.
  func readsParts(of role: String) -> Bool {
    if let known = partReading.roles.withLock({ $0[role] }) { return known }
    let mark = "\u{F8F0}part\u{F8F1}"
    let parts: JSONValue = [["type": "text", "text": .string(mark)]]
    var messages: [JSONValue] = [
      ["role": "user", "content": "a"], ["role": "assistant", "content": "b"],
      ["role": "user", "content": "c"],
    ]
    let tested: JSONValue = ["role": .string(role), "content": parts]
    switch role {
    case "system", "developer": messages.insert(tested, at: 0)
    case "user": messages[2] = tested
    case "assistant": messages[1] = tested
    default: messages[2] = tested
    }
    let text = try? render([
      ("messages", .array(messages)), ("tools", .null), ("documents", .null),
      ("add_generation_prompt", false),
    ]).text
    // Written as a list, the text has its name before it.
    let isRead =
      text.map { text in
        text.contains(mark)
          && !["'", "\""].contains { text.contains("\($0)text\($0): \($0)\(mark)") }
      } ?? false
    partReading.roles.withLock { $0[role] = isRead }
    return isRead
  }
}
