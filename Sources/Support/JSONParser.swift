/// Why a text is not a JSON document that this program accepts.
package struct JSONError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Offset in bytes from the start of the text.
  package var byteOffset: Int
  package var reason: String
  package var description: String { "not valid JSON at byte \(byteOffset): \(reason)" }
}

/// A strict RFC 8259 parser for files from outside: UTF-8 only, duplicate names are an error,
/// depth is bounded (the parser recurses), `NaN` and `Infinity` are refused.
package struct JSONParser {
  private let bytes: [UInt8]
  private var position = 0
  private var depth = 0
  private let maximumDepth: Int

  /// Parses the whole of `bytes` as one JSON document.
  ///
  /// - Parameters:
  ///   - bytes: UTF-8 text.
  ///   - maximumDepth: how deep arrays and objects may nest.
  /// - Returns: the document.
  /// - Throws: ``JSONError``.
  package static func parse(_ bytes: [UInt8], maximumDepth: Int = 128) throws(JSONError)
    -> JSONValue
  {
    var parser = JSONParser(bytes: bytes, maximumDepth: maximumDepth)
    let value = try parser.value()
    parser.skipWhitespace()
    guard parser.position == bytes.count else {
      throw parser.error("text after the end of the document")
    }
    return value
  }

  /// Parses `text`; see the function over bytes.
  package static func parse(_ text: String, maximumDepth: Int = 128) throws(JSONError) -> JSONValue
  {
    try parse(Array(text.utf8), maximumDepth: maximumDepth)
  }

  private init(bytes: [UInt8], maximumDepth: Int) {
    self.bytes = bytes
    self.maximumDepth = maximumDepth
  }

  private func error(_ reason: String) -> JSONError {
    JSONError(byteOffset: position, reason: reason)
  }

  /// The next byte, or 0 at the end (0 is never valid JSON).
  private var peek: UInt8 { position < bytes.count ? bytes[position] : 0 }

  private mutating func skipWhitespace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x0A, 0x0D, 0x09: position += 1
      default: return
      }
    }
  }

  private mutating func value() throws(JSONError) -> JSONValue {
    skipWhitespace()
    guard position < bytes.count else { throw error("unexpected end") }
    switch bytes[position] {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw error("a value was expected")
    }
  }

  private mutating func enter() throws(JSONError) {
    depth += 1
    guard depth <= maximumDepth else {
      throw error("nested deeper than \(maximumDepth) levels")
    }
    position += 1
    skipWhitespace()
  }

  private mutating func object() throws(JSONError) -> JSONValue {
    try enter()
    var result = JSONObject()
    if peek == UInt8(ascii: "}") {
      position += 1
      depth -= 1
      return .object(result)
    }
    while true {
      skipWhitespace()
      guard peek == UInt8(ascii: "\"") else { throw error("a name in quotes was expected") }
      let nameStart = position
      let name = try string()
      guard result[name] == nil else {
        position = nameStart
        throw error("the name \"\(name.prefix(80))\" appears twice in one object")
      }
      skipWhitespace()
      guard peek == UInt8(ascii: ":") else { throw error("':' was expected") }
      position += 1
      result[name] = try value()
      skipWhitespace()
      switch peek {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "}"):
        position += 1
        depth -= 1
        return .object(result)
      default: throw error("',' or '}' was expected")
      }
    }
  }

  private mutating func array() throws(JSONError) -> JSONValue {
    try enter()
    var elements: [JSONValue] = []
    if peek == UInt8(ascii: "]") {
      position += 1
      depth -= 1
      return .array(elements)
    }
    while true {
      elements.append(try value())
      skipWhitespace()
      switch peek {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"):
        position += 1
        depth -= 1
        return .array(elements)
      default: throw error("',' or ']' was expected")
      }
    }
  }

  private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(JSONError)
    -> JSONValue
  {
    let expected = Array("\(word)".utf8)
    guard position + expected.count <= bytes.count,
      bytes[position..<position + expected.count].elementsEqual(expected)
    else { throw error("a value was expected") }
    position += expected.count
    return value
  }

  private mutating func digits() throws(JSONError) {
    guard isDigit(peek) else { throw error("a digit was expected") }
    while isDigit(peek) { position += 1 }
  }

  private func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }

  private mutating func number() throws(JSONError) -> JSONValue {
    let start = position
    if peek == UInt8(ascii: "-") { position += 1 }
    if peek == UInt8(ascii: "0") {
      position += 1
      if isDigit(peek) { throw error("a number must not start with 0") }
    } else {
      try digits()
    }
    var isInteger = true
    if peek == UInt8(ascii: ".") {
      isInteger = false
      position += 1
      try digits()
    }
    if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
      isInteger = false
      position += 1
      if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { position += 1 }
      try digits()
    }
    guard position - start <= 1000 else { throw error("a number of more than 1000 characters") }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger, let integer = Int(text) { return .integer(integer) }
    guard let double = Double(text), double.isFinite else {
      position = start
      throw error("the number \(text.prefix(40)) is out of range")
    }
    return .double(double)
  }

  private mutating func string() throws(JSONError) -> String {
    position += 1
    let start = position
    // Most strings have no escape: take them in one piece.
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") {
        defer { position += 1 }
        return try utf8(bytes[start..<position], start)
      }
      if byte == UInt8(ascii: "\\") { break }
      guard byte >= 0x20 else { throw error("a control character in a string; escape it") }
      position += 1
    }
    var content = Array(bytes[start..<position])
    while position < bytes.count {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""):
        position += 1
        return try utf8(content[...], start)
      case UInt8(ascii: "\\"):
        position += 1
        try escape(into: &content)
      case 0..<0x20: throw error("a control character in a string; escape it")
      default:
        content.append(byte)
        position += 1
      }
    }
    throw error("a string without end")
  }

  private func utf8(_ slice: ArraySlice<UInt8>, _ start: Int) throws(JSONError) -> String {
    guard let text = String(validating: slice, as: UTF8.self) else {
      throw JSONError(byteOffset: start, reason: "a string that is not UTF-8")
    }
    return text
  }

  private mutating func escape(into content: inout [UInt8]) throws(JSONError) {
    let byte = peek
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
    case UInt8(ascii: "b"): content.append(0x08)
    case UInt8(ascii: "f"): content.append(0x0C)
    case UInt8(ascii: "n"): content.append(0x0A)
    case UInt8(ascii: "r"): content.append(0x0D)
    case UInt8(ascii: "t"): content.append(0x09)
    case UInt8(ascii: "u"):
      var code = try hex4()
      if (0xD800..<0xDC00).contains(code) {
        guard peek == UInt8(ascii: "\\"), position + 1 < bytes.count,
          bytes[position + 1] == UInt8(ascii: "u")
        else { throw error("a lone surrogate escape") }
        position += 2
        let low = try hex4()
        guard (0xDC00..<0xE000).contains(low) else { throw error("a lone surrogate escape") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw error("a lone surrogate escape") }
      content.append(contentsOf: String(Character(scalar)).utf8)
    default: throw error("an unknown escape in a string")
    }
  }

  private mutating func hex4() throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      let digit: UInt32
      switch peek {
      case let byte where isDigit(byte): digit = UInt32(byte - UInt8(ascii: "0"))
      case let byte where byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f"):
        digit = UInt32(byte - UInt8(ascii: "a")) + 10
      case let byte where byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "F"):
        digit = UInt32(byte - UInt8(ascii: "A")) + 10
      default: throw error("four hexadecimal digits were expected")
      }
      code = code << 4 | digit
      position += 1
    }
    return code
  }
}
