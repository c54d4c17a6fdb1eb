internal import Support

/// The lines of a mapped file, read in blocks, each with its number from 1 on.
struct LineReader {
  struct Line {
    var number: Int
    /// Without the line end (`\n` or `\r\n`).
    var bytes: [UInt8]
  }

  private let file: MappedFile
  private var block: [UInt8] = []
  private var blockPosition = 0
  private var fileOffset = 0
  private var number = 0

  private static let blockByteCount = 1 << 20
  /// One row of more text than this is a mistake, for example a file without line ends.
  private static let lineByteLimit = 1 << 28

  init(_ file: MappedFile) { self.file = file }

  /// Bytes of the file that the lines so far took.
  var byteOffset: Int { fileOffset - (block.count - blockPosition) }

  /// The next line, or nil after the last.
  mutating func next() throws(UserError) -> Line? {
    var bytes: [UInt8] = []
    var hasEnd = false
    while !hasEnd {
      if blockPosition == block.count, !readBlock() { break }
      let rest = block[blockPosition...]
      let end = rest.firstIndex(of: UInt8(ascii: "\n"))
      bytes += rest[..<(end ?? block.count)]
      blockPosition = end.map { $0 + 1 } ?? block.count
      hasEnd = end != nil
      guard bytes.count <= Self.lineByteLimit else {
        throw UserError(
          .badInput, at: "\(file.path):\(number + 1)",
          "a line of more than \(Self.lineByteLimit) bytes",
          fix: "write one JSON object a line")
      }
    }
    guard hasEnd || !bytes.isEmpty else { return nil }
    if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
    number += 1
    return Line(number: number, bytes: bytes)
  }

  private mutating func readBlock() -> Bool {
    let end = min(fileOffset + Self.blockByteCount, file.byteCount)
    guard fileOffset < end else { return false }
    block = file.copyBytes(fileOffset..<end)
    blockPosition = 0
    fileOffset = end
    return true
  }
}
