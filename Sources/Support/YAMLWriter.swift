/// Writes flat YAML that ``YAMLDocument`` reads back to the same values.
package enum YAMLWriter {
  /// One line, `name: value`.
  package static func line(_ name: String, _ value: JSONValue) -> String {
    "\(name): \(inline(value))\n"
  }

  /// A value in flow style; text is always in quotes, so that it stays text.
  private static func inline(_ value: JSONValue) -> String {
    switch value {
    case .string(let text): quoted(text)
    case .array(let elements): "[" + elements.map(inline).joined(separator: ", ") + "]"
    case .object(let object):
      "{"
        + object.members.map { "\(quoted($0.name)): \(inline($0.value))" }
        .joined(separator: ", ") + "}"
    case .double(let number) where number.isNaN: ".nan"
    case .double(let number) where number.isInfinite: number < 0 ? "-.inf" : ".inf"
    default: value.compactText
    }
  }

  /// `text` in double quotes. Beyond what JSON escapes, YAML treats U+0085, U+2028 and U+2029 as
  /// line breaks and refuses other controls.
  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x22: result += "\\\""
      case 0x5C: result += "\\\\"
      case 0x0A: result += "\\n"
      case 0x09: result += "\\t"
      case 0..<0x20, 0x7F..<0xA1, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
