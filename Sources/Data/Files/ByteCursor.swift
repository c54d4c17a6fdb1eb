internal import Support

/// A place in the bytes of a data file, for readers that look at one byte after the other.
struct ByteCursor {
  private let source: DataBytes
  /// What was read last, and how far it is used up.
  private(set) var block: [UInt8] = []
  var position = 0

  /// One row of more bytes than this is a mistake, for example a quote without its partner.
  static let rowByteLimit = 1 << 28

  /// How much of its beginning tells a file's format.
  private static let startByteCount = 1 << 16

  /// Begins after the byte order mark, where there is one.
  ///
  /// - Parameter source: has not been read from.
  /// - Throws: ``UserError`` when the file cannot be read or is UTF-16.
  init(_ source: DataBytes) throws(UserError) {
    self.source = source
    while block.count < Self.startByteCount, let more = try source.next() { block += more }
    if block.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    if block.starts(with: [0xFF, 0xFE]) || block.starts(with: [0xFE, 0xFF]) {
      throw UserError(
        .badInput, at: "\(source.path):1", "the file is UTF-16, but UTF-8 is needed",
        fix: "convert it: iconv -f UTF-16 -t UTF-8")
    }
  }

  /// What tells the file's format, before anything was taken.
  var start: ArraySlice<UInt8> { block.prefix(Self.startByteCount)[position...] }

  var path: String { source.path }
  var isCompressed: Bool { source.isCompressed }

  /// Bytes of the file that were read; blocks that are only partly used up count as read.
  var byteOffset: Int { source.byteOffset }

  /// The next byte, which stays; nil at the end.
  @inline(__always) mutating func peek() throws(UserError) -> UInt8? {
    if position < block.count { return block[position] }
    guard let next = try source.next() else { return nil }
    block = next
    position = 0
    return block[0]
  }

  /// Throws when a row has grown too large.
  func checkRow(_ byteCount: Int, line: Int) throws(UserError) {
    guard byteCount > Self.rowByteLimit else { return }
    throw UserError(
      .badInput, at: "\(path):\(line)", "a row of more than \(Self.rowByteLimit) bytes",
      fix: "write one row a line; look for a line end or a quote that is missing")
  }

  /// The text of a part of a file.
  ///
  /// - Parameters:
  ///   - bytes: of the part.
  ///   - line: that it begins on.
  /// - Returns: the text.
  /// - Throws: ``UserError`` with line and byte of what is not UTF-8.
  func text(_ bytes: [UInt8], line: Int) throws(UserError) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    var offset = 0
    while offset < bytes.count, case .valid(let count) = UTF8Scanner.scalar(in: bytes, at: offset) {
      offset += count
    }
    let before = bytes[..<offset]
    let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let newLines = before.count { $0 == UInt8(ascii: "\n") }
    let byte = String(bytes[min(offset, bytes.count - 1)], radix: 16, uppercase: true)
    throw UserError(
      .badInput, at: "\(path):\(line + newLines)",
      "byte \(offset - lineStart + 1) of the line is 0x\(byte), which is not UTF-8",
      fix: "save the file as UTF-8, for example with iconv -f ISO-8859-1 -t UTF-8")
  }
}
