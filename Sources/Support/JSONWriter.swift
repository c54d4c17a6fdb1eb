extension JSONValue {
  /// The document as one line. Numbers read back exactly: the shortest text that gives the same bits.
  ///
  /// A double that is not finite has no JSON form and is written as `null`.
  package var compactText: String {
    var text = ""
    write(to: &text, indent: nil, level: 0)
    return text
  }

  /// The document over several lines, two spaces a level.
  package var prettyText: String {
    var text = ""
    write(to: &text, indent: 2, level: 0)
    return text
  }

  private func write(to text: inout String, indent: Int?, level: Int) {
    func newline(_ level: Int) {
      guard let indent else { return }
      text += "\n" + String(repeating: " ", count: indent * level)
    }
    switch self {
    case .null: text += "null"
    case .bool(let flag): text += flag ? "true" : "false"
    case .integer(let number): text += "\(number)"
    case .double(let number): text += number.isFinite ? "\(number)" : "null"
    case .string(let string): Self.writeString(string, to: &text)
    case .array(let elements):
      text += "["
      for (position, element) in elements.enumerated() {
        if position > 0 { text += indent == nil ? ", " : "," }
        newline(level + 1)
        element.write(to: &text, indent: indent, level: level + 1)
      }
      if !elements.isEmpty { newline(level) }
      text += "]"
    case .object(let object):
      text += "{"
      for (position, member) in object.members.enumerated() {
        if position > 0 { text += indent == nil ? ", " : "," }
        newline(level + 1)
        Self.writeString(member.name, to: &text)
        text += ": "
        member.value.write(to: &text, indent: indent, level: level + 1)
      }
      if object.count > 0 { newline(level) }
      text += "}"
    }
  }

  private static func writeString(_ string: String, to text: inout String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}
