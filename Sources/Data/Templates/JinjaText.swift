/// A text of a template: UTF-8, compared byte by byte, counted in Unicode scalars as Python does.
struct JinjaText: Hashable, Sendable, ExpressibleByStringLiteral, Comparable {
  let bytes: [UInt8]
  /// Unicode scalars.
  let count: Int
  /// Marked by the filter `safe`, so that joining other texts to it escapes them.
  let isSafe: Bool

  init(_ bytes: [UInt8], isSafe: Bool = false) {
    self.bytes = bytes
    self.isSafe = isSafe
    count = bytes.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
  }

  init(_ slice: ArraySlice<UInt8>) { self.init(Array(slice)) }
  init(_ text: String) { self.init(Array(text.utf8)) }
  init(stringLiteral value: String) { self.init(value) }
  init(_ scalars: some Sequence<Unicode.Scalar>) {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    self.init(String(text))
  }

  var string: String { String(decoding: bytes, as: UTF8.self) }
  var scalars: String.UnicodeScalarView { string.unicodeScalars }
  var isEmpty: Bool { bytes.isEmpty }

  static func == (left: JinjaText, right: JinjaText) -> Bool { left.bytes == right.bytes }
  func hash(into hasher: inout Hasher) { hasher.combine(bytes) }
  /// The order of UTF-8 bytes is that of scalars.
  static func < (left: JinjaText, right: JinjaText) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }

  /// The byte at which the scalar of this number begins; the number may be ``count``.
  func byteOffset(ofScalar index: Int) -> Int {
    if count == bytes.count { return index }
    var seen = 0
    for (offset, byte) in bytes.enumerated() where byte & 0xC0 != 0x80 {
      if seen == index { return offset }
      seen += 1
    }
    return bytes.count
  }

  /// The scalars of a range.
  func slice(_ range: Range<Int>) -> JinjaText {
    JinjaText(
      Array(bytes[byteOffset(ofScalar: range.lowerBound)..<byteOffset(ofScalar: range.upperBound)]),
      isSafe: isSafe)
  }

  /// Each scalar as a text.
  var characters: [JinjaText] { scalars.map { JinjaText(Array(String($0).utf8)) } }

  /// Where `pattern` begins first at or after a byte; nil where it does not.
  func firstIndex(of pattern: JinjaText, from start: Int = 0, to end: Int? = nil) -> Int? {
    JinjaTextSearch(first: pattern).first(in: bytes, from: start, to: end ?? bytes.count)
  }

  /// Where `pattern` begins last before a byte.
  func lastIndex(of pattern: JinjaText, to end: Int? = nil) -> Int? {
    JinjaTextSearch(last: pattern).last(in: bytes, to: end ?? bytes.count)
  }

  func hasPrefix(_ prefix: JinjaText) -> Bool { bytes.starts(with: prefix.bytes) }
  func hasSuffix(_ suffix: JinjaText) -> Bool {
    bytes.count >= suffix.bytes.count
      && bytes.suffix(suffix.bytes.count).elementsEqual(suffix.bytes)
  }

  /// How many bytes of white space begin at a byte, 0 for none.
  static func spaceLength(_ bytes: [UInt8], at position: Int) -> Int {
    guard position < bytes.count else { return 0 }
    let first = bytes[position]
    if first < 0x80 { return isSpace(Unicode.Scalar(first)) ? 1 : 0 }
    let end = position + UTF8Scanner.length(first)
    guard end <= bytes.count,
      let scalar = String(decoding: bytes[position..<end], as: UTF8.self).unicodeScalars.first
    else { return 0 }
    return isSpace(scalar) ? end - position : 0
  }

  /// What Python's `str.isspace` says of one scalar.
  static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F,
      0x205F, 0x3000:
      true
    default: false
    }
  }

  /// Without the scalars at its ends that `isRemoved` names.
  func stripped(
    left: Bool, right: Bool, _ isRemoved: (Unicode.Scalar) -> Bool = JinjaText.isSpace
  ) -> JinjaText {
    var scalars = Substring(string).unicodeScalars
    if left { scalars = scalars.drop(while: isRemoved) }
    if right { while let last = scalars.last, isRemoved(last) { scalars.removeLast() } }
    return JinjaText(Array(Substring(scalars).utf8), isSafe: isSafe)
  }

  /// With the characters of HTML replaced, and marked as safe.
  var escaped: JinjaText {
    if isSafe { return self }
    var result: [UInt8] = []
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "&"): result += Array("&amp;".utf8)
      case UInt8(ascii: "<"): result += Array("&lt;".utf8)
      case UInt8(ascii: ">"): result += Array("&gt;".utf8)
      case UInt8(ascii: "'"): result += Array("&#39;".utf8)
      case UInt8(ascii: "\""): result += Array("&#34;".utf8)
      default: result.append(byte)
      }
    }
    return JinjaText(result, isSafe: true)
  }
}
