internal import Support

/// The file in which tokenized rows are kept.
///
/// `magic`, then tokens and labels row by row (int32), then the rows (48 bytes each), then a JSON
/// object with the key and the counts, its length (8 bytes), and SHA-256 over numbers and rows, and
/// over the object. All numbers have their lowest byte first.
package enum TokenFile {
  private static let magic = Array("ASTOKEN1".utf8)
  static let numberStart = 8
  private static let metadataLimit = 1 << 20

  /// Writes a file piece by piece.
  struct Writer: ~Copyable {
    private var file: AtomicFileWriter
    private var pending: [UInt8] = []
    /// The rows wait in a file of their own, so that memory does not grow with their number.
    private var rows: AtomicFileWriter
    private var pendingRows: [UInt8] = []

    init(path: String) throws(UserError) {
      let file = try AtomicFileWriter(path: path)
      let rows = try AtomicFileWriter(path: "\(path).rows.\(UInt64.random(in: 0 ... .max))")
      self.file = file
      self.rows = rows
      pending = TokenFile.magic
    }

    mutating func append(_ row: TokenRow) throws(UserError) {
      row.write(to: &pendingRows)
      guard pendingRows.count >= 1 << 20 else { return }
      try rows.write(pendingRows)
      pendingRows.removeAll(keepingCapacity: true)
    }

    /// Puts the rows behind the numbers.
    mutating func appendRows(_ hash: inout SHA256) throws(UserError) {
      try rows.write(pendingRows)
      try rows.finish()
      let outcome = Result { () throws(UserError) in
        let written = try MappedFile(path: rows.path)
        for start in stride(from: 0, to: written.byteCount, by: 1 << 20) {
          let bytes = try written.readBytes(start..<min(start + 1 << 20, written.byteCount))
          hash.update(bytes)
          try append(bytes)
        }
      }
      try FileSystem.remove(rows.path)
      try outcome.get()
    }

    mutating func append(_ bytes: [UInt8]) throws(UserError) {
      pending += bytes
      guard pending.count >= 1 << 20 else { return }
      try file.write(pending)
      pending.removeAll(keepingCapacity: true)
    }

    mutating func finish(_ metadata: JSONObject) throws(UserError) {
      let text = Array(JSONValue.object(metadata).compactText.utf8)
      var end = text
      LittleEndian.append(UInt64(text.count), to: &end)
      try file.write(pending + end + Array(SHA256.hexadecimal(text).utf8))
      try file.finish()
    }
  }

  /// Opens a file.
  ///
  /// - Parameters:
  ///   - path: where it may lie.
  ///   - key: of what is asked for.
  ///   - dataPath: of the data file, for messages.
  ///   - checksAll: whether all of it is read and compared with its checksum, and not its end alone.
  /// - Returns: the rows; nil when there is no such file, or it is damaged or holds something else.
  package static func open(_ path: String, key: String, dataPath: String, checksAll: Bool)
    -> TokenStore?
  {
    guard FileSystem.exists(path) else { return nil }
    return try? read(path, key, dataPath, checksAll)
  }

  private struct Damaged: Error {}

  private static func read(_ path: String, _ key: String, _ dataPath: String, _ checksAll: Bool)
    throws -> TokenStore
  {
    let file = try MappedFile(path: path)
    let tailCount = 8 + 64
    guard file.holdInCache(), file.byteCount >= numberStart + tailCount,
      try file.readBytes(0..<magic.count) == magic
    else { throw Damaged() }
    let tail = try file.readBytes(file.byteCount - tailCount..<file.byteCount)
    let length: UInt64 = LittleEndian.read(tail, at: 0)
    guard length <= metadataLimit, numberStart + Int(length) + tailCount <= file.byteCount else {
      throw Damaged()
    }
    let end = file.byteCount - tailCount - Int(length)
    let text = try file.readBytes(end..<end + Int(length))
    guard Array(SHA256.hexadecimal(text).utf8) == tail[8...].map({ $0 }) else { throw Damaged() }
    let metadata = try JSONParser.parse(text)
    guard metadata["key"]?.stringValue == key, let numberCount = metadata["numbers"]?.intValue,
      let rowCount = metadata["rows"]?.intValue, let digest = metadata["digest"]?.stringValue,
      let format = metadata["format"]?.stringValue, let columns = metadata["columns"]?.arrayValue,
      numberCount >= 0, rowCount >= 0, numberCount <= file.byteCount, rowCount <= file.byteCount,
      numberStart + 4 * numberCount + TokenRow.byteCount * rowCount == end
    else { throw Damaged() }
    if checksAll {
      var hash = SHA256()
      for start in stride(from: numberStart, to: end, by: 1 << 20) {
        hash.update(try file.readBytes(start..<min(start + 1 << 20, end)))
      }
      guard hash.finish() == digest else { throw Damaged() }
    }
    return TokenStore(
      origin: TokenStore.Origin(
        path: dataPath, format: format, columns: columns.compactMap(\.stringValue)),
      file: file, rowStart: numberStart + 4 * numberCount, rowCount: rowCount, digest: digest)
  }
}
