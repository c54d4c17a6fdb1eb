internal import Support

/// The bytes of a data file from first to last, in blocks; decompressed where the file is gzip.
///
/// A file of any size takes a few blocks of memory.
final class DataBytes {
  let path: String
  let isCompressed: Bool
  /// Bytes of the file itself that were read so far.
  private(set) var byteOffset = 0
  var byteCount: Int { file.byteCount }

  private let file: MappedFile
  private let inflater: GzipInflater?
  /// Compressed bytes that were read, but not yet taken.
  private var pending: ArraySlice<UInt8> = []
  private var isInsideMember = true
  private var memberCount = 0
  private var outputCount = 0

  private static let blockByteCount = 1 << 20
  /// No data set compresses like this; what does was made to fill a disk. Deflate's limit is 1032.
  private static let ratioLimit = 300
  /// Below this nothing is suspicious.
  private static let unsuspiciousByteCount = 1 << 26
  private static let outputByteLimit = 1 << 42

  init(_ file: MappedFile) throws(UserError) {
    self.file = file
    path = file.path
    let start = try file.readBytes(0..<min(2, file.byteCount))
    isCompressed = start == Self.gzipMark
    inflater = isCompressed ? try GzipInflater() : nil
  }

  private static let gzipMark: [UInt8] = [0x1F, 0x8B]

  /// The next block, which is not empty, or nil at the end.
  func next() throws(UserError) -> [UInt8]? {
    guard let inflater else { return try readBlock() }
    while true {
      if pending.isEmpty {
        guard let block = try readBlock() else {
          guard !isInsideMember else {
            throw error(
              "the gzip data break off after \(outputCount) bytes; the file is not whole",
              fix: "copy or download the file again")
          }
          return nil
        }
        pending = block[...]
      }
      if !isInsideMember {
        // Members may follow each other, and zeros may fill up the last block of a tape.
        pending = pending.drop { $0 == 0 }
        guard !pending.isEmpty else { continue }
        try inflater.reset()
        isInsideMember = true
      }
      let block: [UInt8]
      do throws(UserError) {
        // A small file is to take little memory.
        let limit = min(max(8 * pending.count, 1 << 12), Self.blockByteCount)
        let result = try inflater.inflate(pending, outputLimit: limit)
        pending = pending.dropFirst(result.inputCount)
        isInsideMember = !result.isMemberEnd
        if result.isMemberEnd { memberCount += 1 }
        block = result.output
      } catch let cause {
        throw error(
          "the gzip data are broken after \(outputCount) bytes of content: \(cause.message)",
          fix: "copy or download the file again")
      }
      outputCount += block.count
      try checkSize()
      if !block.isEmpty { return block }
    }
  }

  private func checkSize() throws(UserError) {
    let taken = max(1, byteOffset - pending.count)
    guard outputCount > Self.unsuspiciousByteCount, outputCount / taken >= Self.ratioLimit,
      outputCount <= Self.outputByteLimit
    else {
      guard outputCount > Self.outputByteLimit else { return }
      throw error("the gzip data hold more than \(Self.outputByteLimit) bytes", fix: "")
    }
    throw error(
      "\(taken) bytes of gzip hold more than \(outputCount) bytes, \(outputCount / taken) times as "
        + "many; files of more than \(Self.ratioLimit) times are refused",
      fix: "decompress the file if you trust it")
  }

  private func error(_ message: String, fix: String) -> UserError {
    UserError(.badInput, at: path, message, fix: fix)
  }

  private func readBlock() throws(UserError) -> [UInt8]? {
    let end = min(byteOffset + Self.blockByteCount, file.byteCount)
    guard byteOffset < end else { return nil }
    defer { byteOffset = end }
    return try file.readBytes(byteOffset..<end)
  }
}
