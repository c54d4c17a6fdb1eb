/// A piece of a template.
struct JinjaToken: Equatable {
  enum Kind: Equatable {
    /// Text outside of tags.
    case data(JinjaText)
    case variableBegin, variableEnd, blockBegin, blockEnd
    case name(String)
    case text(JinjaText)
    case integer(Int)
    case float(Double)
    case symbol(String)
    case end
  }

  var kind: Kind
  var line: Int

  /// For messages.
  var description: String {
    switch kind {
    case .data: "text"
    case .variableBegin: "'{{'"
    case .variableEnd: "'}}'"
    case .blockBegin: "'{%'"
    case .blockEnd: "'%}'"
    case .name(let name): "'\(name)'"
    case .text: "a string"
    case .integer(let number): "'\(number)'"
    case .float(let number): "'\(JinjaValue.floatText(number))'"
    case .symbol(let symbol): "'\(symbol)'"
    case .end: "the end of the template"
    }
  }
}

/// Cuts a template into tokens as jinja2 does with `trim_blocks` and `lstrip_blocks`: the line end
/// after a block and the white space before one on its line are not part of the text.
struct JinjaLexer {
  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  private var tokens: [JinjaToken] = []
  /// Whether the piece before ended with a line end.
  private var isLineStart = true

  private enum Tag { case variable, block, comment, raw }

  private init(_ source: String) {
    // Line ends of all kinds are one; the last of the template is not part of it.
    var bytes: [UInt8] = []
    var followsReturn = false
    for byte in source.utf8 {
      if byte == 0x0A, followsReturn {
        followsReturn = false
        continue
      }
      followsReturn = byte == 0x0D
      bytes.append(followsReturn ? 0x0A : byte)
    }
    if bytes.last == 0x0A { bytes.removeLast() }
    self.bytes = bytes
  }

  /// All tokens of a template, the end included.
  static func tokens(of source: String) throws -> [JinjaToken] {
    guard source.utf8.count <= JinjaLimits.templateBytes else {
      throw JinjaError(
        .limit,
        "the template has \(source.utf8.count) bytes, more than \(JinjaLimits.templateBytes)")
    }
    var lexer = JinjaLexer(source)
    while lexer.position < lexer.bytes.count { try lexer.piece() }
    lexer.add(.end)
    return lexer.tokens
  }

  private func failure(_ message: String) -> JinjaError { JinjaError(.syntax, message, line: line) }

  private mutating func add(_ kind: JinjaToken.Kind) {
    tokens.append(JinjaToken(kind: kind, line: line))
  }

  private func holds(_ text: StaticString, at position: Int) -> Bool {
    let count = text.utf8CodeUnitCount
    guard position + count <= bytes.count else { return false }
    return "\(text)".utf8.elementsEqual(bytes[position..<position + count])
  }

  private mutating func advance(to end: Int) {
    for byte in bytes[position..<end] where byte == 0x0A { line += 1 }
    if end > position { isLineStart = bytes[end - 1] == 0x0A }
    position = end
  }

  private func end(ofSpaceFrom start: Int) -> Int {
    var end = start
    while case let length = JinjaText.spaceLength(bytes, at: end), length > 0 { end += length }
    return end
  }

  /// Text up to the next tag, and that tag.
  private mutating func piece() throws {
    var begin = position
    while begin + 1 < bytes.count,
      !(bytes[begin] == UInt8(ascii: "{")
        && [UInt8(ascii: "{"), UInt8(ascii: "%"), UInt8(ascii: "#")].contains(bytes[begin + 1]))
    {
      begin += 1
    }
    guard begin + 1 < bytes.count else {
      add(.data(JinjaText(bytes[position...])))
      return advance(to: bytes.count)
    }
    let tag: Tag =
      switch bytes[begin + 1] {
      case UInt8(ascii: "{"): .variable
      case UInt8(ascii: "#"): .comment
      default: rawEnd(begin) == nil ? .block : .raw
      }
    addData(to: begin, before: tag)
    advance(to: begin)
    switch tag {
    case .variable, .block:
      add(tag == .variable ? .variableBegin : .blockBegin)
      advance(to: begin + 2 + signLength(begin + 2))
      try inside(tag)
    case .comment:
      advance(to: begin + 2 + signLength(begin + 2))
      try comment()
    case .raw:
      advance(to: rawEnd(begin) ?? begin)
      try raw()
    }
  }

  /// A sign that controls white space, `-` or `+`.
  private func signLength(_ position: Int) -> Int {
    position < bytes.count
      && (bytes[position] == UInt8(ascii: "-") || bytes[position] == UInt8(ascii: "+")) ? 1 : 0
  }

  /// The text before a tag, without the white space that the tag takes.
  private mutating func addData(to end: Int, before tag: Tag) {
    let sign = signLength(end + 2) > 0 ? bytes[end + 2] : nil
    var text = JinjaText(bytes[position..<end])
    if sign == UInt8(ascii: "-") {
      text = text.stripped(left: false, right: true)
    } else if sign == nil, tag != .variable {
      let lineBegin = (text.bytes.lastIndex(of: 0x0A) ?? -1) + 1
      let rest = JinjaText(text.bytes[lineBegin...])
      if lineBegin > 0 || isLineStart, rest.stripped(left: true, right: true).isEmpty {
        text = JinjaText(text.bytes[..<lineBegin])
      }
    }
    if !text.isEmpty { add(.data(text)) }
  }

  /// The end of a `{% raw %}` that begins here; nil where none does.
  private func rawEnd(_ begin: Int) -> Int? {
    let word = end(ofSpaceFrom: begin + 2 + signLength(begin + 2))
    guard holds("raw", at: word) else { return nil }
    let close = end(ofSpaceFrom: word + 3)
    if holds("-%}", at: close) { return end(ofSpaceFrom: close + 3) }
    return holds("%}", at: close) ? close + 2 : nil
  }

  /// Where a block goes on after an end of it that stands here; nil where none stands.
  private func blockEnd(_ position: Int, closing: StaticString) -> Int? {
    if holds(closing, at: position) {
      let end = position + 2
      return end < bytes.count && bytes[end] == 0x0A ? end + 1 : end
    }
    guard signLength(position) > 0, holds(closing, at: position + 1) else { return nil }
    return bytes[position] == UInt8(ascii: "-") ? end(ofSpaceFrom: position + 3) : position + 3
  }

  private mutating func comment() throws {
    for candidate in position..<bytes.count {
      guard let end = blockEnd(candidate, closing: "#}") else { continue }
      return advance(to: end)
    }
    throw failure("a comment without end: '#}' is missing")
  }

  private mutating func raw() throws {
    for begin in position..<bytes.count where holds("{%", at: begin) {
      let word = end(ofSpaceFrom: begin + 2 + signLength(begin + 2))
      guard holds("endraw", at: word),
        let end = blockEnd(end(ofSpaceFrom: word + 6), closing: "%}")
      else { continue }
      addData(to: begin, before: .block)
      return advance(to: end)
    }
    throw failure("a raw block without end: '{% endraw %}' is missing")
  }
}

extension JinjaLexer {
  private static let symbols = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
  ].map { (text: $0, bytes: Array($0.utf8)) }

  /// The tokens between the braces of a tag, and its end.
  private mutating func inside(_ tag: Tag) throws {
    var open: [String] = []
    while position < bytes.count {
      if open.isEmpty {
        if tag == .block, let end = blockEnd(position, closing: "%}") {
          add(.blockEnd)
          return advance(to: end)
        }
        if tag == .variable {
          if holds("-}}", at: position) {
            add(.variableEnd)
            return advance(to: end(ofSpaceFrom: position + 3))
          }
          if holds("}}", at: position) {
            add(.variableEnd)
            return advance(to: position + 2)
          }
        }
      }
      let space = end(ofSpaceFrom: position)
      if space > position {
        advance(to: space)
        continue
      }
      if try number() { continue }
      if try name() { continue }
      if bytes[position] == UInt8(ascii: "'") || bytes[position] == UInt8(ascii: "\"") {
        try string()
        continue
      }
      guard
        let symbol = Self.symbols.first(where: { bytes[position...].starts(with: $0.bytes) })
      else {
        let rest = String(decoding: bytes[position..<min(position + 4, bytes.count)], as: UTF8.self)
        throw failure("unexpected character '\(rest.prefix(1))'")
      }
      switch symbol.text {
      case "(": open.append(")")
      case "[": open.append("]")
      case "{": open.append("}")
      case ")", "]", "}":
        guard let expected = open.popLast() else { throw failure("unexpected '\(symbol.text)'") }
        guard expected == symbol.text else {
          throw failure("unexpected '\(symbol.text)', expected '\(expected)'")
        }
      default: break
      }
      add(.symbol(symbol.text))
      advance(to: position + symbol.bytes.count)
    }
    throw failure("unexpected end of the template inside a tag")
  }

  private func isDigit(_ position: Int) -> Bool {
    position < bytes.count && (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position])
  }

  /// The end of digits with single `_` between them; nil without a digit.
  private func digitsEnd(_ start: Int) -> Int? {
    guard isDigit(start) else { return nil }
    var end = start + 1
    while isDigit(end) || (end < bytes.count && bytes[end] == UInt8(ascii: "_") && isDigit(end + 1))
    {
      end += 1
    }
    return end
  }

  private mutating func number() throws -> Bool {
    guard isDigit(position) else { return false }
    func text(_ end: Int) -> String {
      String(decoding: bytes[position..<end].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
    }
    if let (value, end) = try prefixedInteger() {
      add(.integer(value))
      advance(to: end)
      return true
    }
    guard var end = digitsEnd(position) else { return false }
    var isFloat = false
    // After a dot digits are an index, as in `pair.0.1`.
    if position == 0 || bytes[position - 1] != UInt8(ascii: ".") {
      if end < bytes.count, bytes[end] == UInt8(ascii: "."), let fraction = digitsEnd(end + 1) {
        end = fraction
        isFloat = true
      }
      if end < bytes.count, bytes[end] | 0x20 == UInt8(ascii: "e"),
        let exponent = digitsEnd(end + 1 + signLength(end + 1))
      {
        end = exponent
        isFloat = true
      }
    }
    if isFloat {
      guard let value = Double(text(end)) else { throw failure("\(text(end)) is no number") }
      add(.float(value))
    } else {
      // A number with a leading zero ends after its zeros.
      if bytes[position] == UInt8(ascii: "0") {
        while end > position + 1, bytes[end - 1] != UInt8(ascii: "0") { end -= 1 }
      }
      guard let value = Int(text(end)) else {
        throw failure("the integer \(text(end).prefix(30)) has more than 64 bits")
      }
      add(.integer(value))
    }
    advance(to: end)
    return true
  }

  private func prefixedInteger() throws -> (value: Int, end: Int)? {
    guard bytes[position] == UInt8(ascii: "0"), position + 2 < bytes.count else { return nil }
    let radix: Int
    switch bytes[position + 1] | 0x20 {
    case UInt8(ascii: "x"): radix = 16
    case UInt8(ascii: "o"): radix = 8
    case UInt8(ascii: "b"): radix = 2
    default: return nil
    }
    var end = position + 2
    var digits: [UInt8] = []
    while end < bytes.count {
      let digit = bytes[end] == UInt8(ascii: "_") ? end + 1 : end
      guard digit < bytes.count, Character(Unicode.Scalar(bytes[digit])).isASCII,
        let value = Character(Unicode.Scalar(bytes[digit])).hexDigitValue, value < radix
      else { break }
      digits.append(bytes[digit])
      end = digit + 1
    }
    guard !digits.isEmpty else { return nil }
    guard let value = Int(String(decoding: digits, as: UTF8.self), radix: radix) else {
      throw failure("an integer of more than 64 bits")
    }
    return (value, end)
  }

  private mutating func name() throws -> Bool {
    var end = position
    while end < bytes.count {
      let length = UTF8Scanner.length(bytes[end])
      guard end + length <= bytes.count,
        let scalar = String(decoding: bytes[end..<end + length], as: UTF8.self).unicodeScalars
          .first,
        scalar == "_" || scalar.properties.isXIDContinue
      else { break }
      end += length
    }
    guard end > position else { return false }
    add(.name(String(decoding: bytes[position..<end], as: UTF8.self)))
    advance(to: end)
    return true
  }

  private mutating func string() throws {
    let quote = bytes[position]
    var end = position + 1
    while end < bytes.count, bytes[end] != quote { end += bytes[end] == UInt8(ascii: "\\") ? 2 : 1 }
    guard end < bytes.count else { throw failure("a string without end") }
    let content = String(decoding: bytes[position + 1..<end], as: UTF8.self)
    add(.text(try unescaped(content)))
    advance(to: end + 1)
  }

  /// A string literal's text; unknown escapes stand for themselves.
  private func unescaped(_ content: String) throws -> JinjaText {
    var result = String.UnicodeScalarView()
    var rest = content.unicodeScalars[...]
    func code(_ digits: Substring.UnicodeScalarView, _ count: Int, _ radix: Int) throws
      -> Unicode.Scalar
    {
      guard digits.count == count || radix == 8,
        let value = UInt32(String(Substring(digits)), radix: radix),
        let scalar = Unicode.Scalar(value)
      else { throw failure("the string has a broken escape \\\(Substring(digits))") }
      return scalar
    }
    while let scalar = rest.popFirst() {
      guard scalar == "\\", let escape = rest.popFirst() else {
        result.append(scalar)
        continue
      }
      switch escape {
      case "\n": continue
      case "\\", "'", "\"": result.append(escape)
      case "n": result.append("\n")
      case "t": result.append("\t")
      case "r": result.append("\r")
      case "a": result.append("\u{7}")
      case "b": result.append("\u{8}")
      case "f": result.append("\u{C}")
      case "v": result.append("\u{B}")
      case "x", "u", "U":
        let count = escape == "x" ? 2 : escape == "u" ? 4 : 8
        result.append(try code(rest.prefix(count), count, 16))
        rest.removeFirst(count)
      case "0"..."7":
        let more = rest.prefix(2).prefix { ("0"..."7").contains($0) }
        var digits = Substring(String(escape)).unicodeScalars
        digits.append(contentsOf: more)
        result.append(try code(digits, digits.count, 8))
        rest.removeFirst(more.count)
      case "N": throw failure("the escape \\N in strings is not supported; write the character")
      default:
        result.append("\\")
        result.append(escape)
      }
    }
    return JinjaText(result)
  }
}
