internal import Support

/// The lines of a data file, each with its number from 1 on.
struct LineReader {
  struct Line {
    var number: Int
    /// Without the line end (`\n` or `\r\n`).
    var bytes: [UInt8]
  }

  private var cursor: ByteCursor
  private var number = 0

  init(_ cursor: ByteCursor) { self.cursor = cursor }

  var byteOffset: Int { cursor.byteOffset }

  /// The next line, or nil after the last.
  mutating func next() throws(UserError) -> Line? {
    var bytes: [UInt8] = []
    var hasEnd = false
    while !hasEnd, try cursor.peek() != nil {
      let rest = cursor.block[cursor.position...]
      let end = rest.firstIndex(of: UInt8(ascii: "\n"))
      bytes += rest[..<(end ?? rest.endIndex)]
      cursor.position = end.map { $0 + 1 } ?? rest.endIndex
      hasEnd = end != nil
      try cursor.checkRow(bytes.count, line: number + 1)
    }
    guard hasEnd || !bytes.isEmpty else { return nil }
    if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
    number += 1
    return Line(number: number, bytes: bytes)
  }
}
