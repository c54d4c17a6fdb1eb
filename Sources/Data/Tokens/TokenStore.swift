package import Support

/// The tokenized rows of one data file, whole and uncut: in memory, or in a file of which only what
/// is asked for is read.
package struct TokenStore: Sendable {
  /// What it was made of, for messages.
  package struct Origin: Sendable, Equatable {
    /// Of the data file.
    package var path: String
    /// For example `CSV, gzip`.
    package var format: String
    /// Of the first row.
    package var columns: [String]

    package init(path: String, format: String, columns: [String]) {
      self.path = path
      self.format = format
      self.columns = columns
    }
  }

  private enum Content {
    case memory(numbers: [Int32], rows: [TokenRow])
    case file(MappedFile, rowStart: Int)
  }

  package let origin: Origin
  package let rowCount: Int
  /// SHA-256 of all numbers and rows.
  package let digest: String
  private let content: Content

  /// Rows that were just tokenized.
  init(origin: Origin, numbers: [Int32], rows: [TokenRow], digest: String) {
    self.origin = origin
    self.digest = digest
    rowCount = rows.count
    content = .memory(numbers: numbers, rows: rows)
  }

  /// Rows of an opened file, which ``TokenFile`` has checked.
  init(origin: Origin, file: MappedFile, rowStart: Int, rowCount: Int, digest: String) {
    self.origin = origin
    self.rowCount = rowCount
    self.digest = digest
    content = .file(file, rowStart: rowStart)
  }

  /// Calls `body` with every row in file order.
  package func forEachRow(_ body: (TokenRow) throws -> Void) throws {
    switch content {
    case .memory(_, let rows): for row in rows { try body(row) }
    case .file(let file, let rowStart):
      let chunk = 1 << 14
      for first in stride(from: 0, to: rowCount, by: chunk) {
        let count = min(chunk, rowCount - first)
        let start = rowStart + first * TokenRow.byteCount
        let bytes = try file.readBytes(start..<start + count * TokenRow.byteCount)
        for number in 0..<count {
          let row = TokenRow(bytes, at: number * TokenRow.byteCount)
          guard row.tokenCount > 0, row.offset <= rowStart,
            TokenFile.numberStart + 4 * (row.offset + 2 * row.tokenCount) <= rowStart
          else {
            throw UserError(
              .badInput, at: file.path, "a row lies outside of the file", fix: "delete the file")
          }
          try body(row)
        }
      }
    }
  }

  /// Tokens and labels of a whole row.
  ///
  /// - Parameters:
  ///   - offset: of the row.
  ///   - tokenCount: of the row.
  /// - Throws: ``UserError`` when the file cannot be read any more.
  package func sample(offset: Int, tokenCount: Int) throws(UserError) -> Sample {
    let numbers: [Int32]
    switch content {
    case .memory(let all, _): numbers = Array(all[offset..<offset + 2 * tokenCount])
    case .file(let file, _):
      let start = TokenFile.numberStart + 4 * offset
      numbers = LittleEndian.numbers(try file.readBytes(start..<start + 8 * tokenCount))
    }
    return Sample(
      tokens: Array(numbers[..<tokenCount]), labels: Array(numbers[tokenCount...]))
  }
}
