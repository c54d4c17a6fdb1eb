/// Python's `json.dumps`, which `tojson` is in chat templates.
struct JinjaJSON {
  var escapesNonASCII = false
  /// What a level is indented by; nil for one line.
  var indent: String?
  var itemSeparator = ", "
  var keySeparator = ": "
  var sortsKeys = false

  private var text: [UInt8] = []

  init() {}

  /// The document in the form that `tojson` has without arguments.
  static func text(_ value: JinjaValue) throws -> String {
    var json = JinjaJSON()
    return try json.write(value).string
  }

  /// The document as text.
  mutating func write(_ value: JinjaValue) throws -> JinjaText {
    text = []
    try append(value, level: 0)
    return JinjaText(text)
  }

  private mutating func append(_ value: JinjaValue, level: Int) throws {
    try JinjaLimits.checkText(text.count)
    switch value {
    case .none: put("null")
    case .bool(let flag): put(flag ? "true" : "false")
    case .integer(let number): put("\(number)")
    case .float(let number): put(Self.number(number))
    case .text(let string): appendText(string.string)
    case .list(let list), .tuple(let list), .group(let list):
      try enclose("[", "]", list.elements.count, level) { json, index in
        try json.append(list.elements[index], level: level + 1)
      }
    case .dictionary(let dictionary):
      var entries = try dictionary.entries.map { (key: try Self.key($0.key), value: $0.value) }
      if sortsKeys {
        guard let sorted = Self.sorted(dictionary) else {
          throw JinjaError("keys of different types cannot be sorted")
        }
        entries = try sorted.map { (key: try Self.key($0.key), value: $0.value) }
      }
      try enclose("{", "}", entries.count, level) { json, index in
        json.appendText(entries[index].key)
        json.put(json.keySeparator)
        try json.append(entries[index].value, level: level + 1)
      }
    default: throw JinjaError("Object of type \(value.typeName) is not JSON serializable")
    }
  }

  private mutating func put(_ string: String) { text += Array(string.utf8) }

  private mutating func enclose(
    _ open: String, _ close: String, _ count: Int, _ level: Int,
    _ body: (inout JinjaJSON, Int) throws -> Void
  ) throws {
    put(open)
    let margin = (indent?.utf8.count ?? 0) * (level + 1)
    for index in 0..<count {
      try JinjaLimits.checkText(text.count + margin + itemSeparator.utf8.count)
      if index > 0 { put(itemSeparator) }
      if let indent { put("\n" + String(repeating: indent, count: level + 1)) }
      try body(&self, index)
    }
    if let indent, count > 0 { put("\n" + String(repeating: indent, count: level)) }
    put(close)
  }

  private static func sorted(_ dictionary: JinjaDictionary) -> [(
    key: JinjaValue, value: JinjaValue
  )]? {
    let entries = dictionary.entries
    do {
      return try entries.enumerated().sorted { left, right in
        if try JinjaOperator.isLess(left.element.key, right.element.key) { return true }
        if try JinjaOperator.isLess(right.element.key, left.element.key) { return false }
        return left.offset < right.offset
      }.map(\.element)
    } catch {
      return nil
    }
  }

  private static func key(_ value: JinjaValue) throws -> String {
    switch value {
    case .text(let text): return text.string
    case .none: return "null"
    case .bool(let flag): return flag ? "true" : "false"
    case .integer(let number): return "\(number)"
    case .float(let double): return number(double)
    default:
      throw JinjaError(
        "keys must be str, int, float, bool or None, not \(value.typeName)")
    }
  }

  private static func number(_ number: Double) -> String {
    if number.isNaN { return "NaN" }
    if number.isInfinite { return number < 0 ? "-Infinity" : "Infinity" }
    return JinjaValue.floatText(number)
  }

  private mutating func appendText(_ string: String) {
    put("\"")
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": put("\\\"")
      case "\\": put("\\\\")
      case "\n": put("\\n")
      case "\r": put("\\r")
      case "\t": put("\\t")
      case "\u{8}": put("\\b")
      case "\u{C}": put("\\f")
      case _ where scalar.value < 0x20 || (escapesNonASCII && scalar.value > 0x7E):
        for unit in String(scalar).utf16 { put("\\u\(JinjaValue.hexadecimal(UInt32(unit), 4))") }
      default: text += Array(String(scalar).utf8)
      }
    }
    put("\"")
  }
}
