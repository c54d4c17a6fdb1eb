internal import Support

/// CSV and TSV as RFC 4180 has them: a header row, quotes around fields that hold delimiters, line
/// ends or quotes, a quote inside written twice; lines end with `\n` or `\r\n`.
///
/// Every column is a text. Blank lines are passed over. A quote inside a field that does not begin
/// with one stands for itself, as other readers have it.
struct DelimitedReader: RowReader {
  private var cursor: ByteCursor
  private let delimiter: UInt8
  private var line = 1
  private var header: [String] = []

  /// Reads the header row.
  init(_ cursor: ByteCursor, delimiter: UInt8) throws(UserError) {
    self.cursor = cursor
    self.delimiter = delimiter
    guard let first = try nextFields() else {
      throw UserError(
        .badInput, at: cursor.path, "no header row: every line is blank",
        fix: "name the columns in the first line")
    }
    var seen: Set<ExactString> = []
    for name in first.fields where !seen.insert(ExactString(name)).inserted {
      throw UserError(
        .badInput, at: "\(cursor.path):\(first.line)",
        "the header names the column \"\(name.prefix(80))\" twice", fix: "give each column its name"
      )
    }
    header = first.fields
  }

  var byteOffset: Int { cursor.byteOffset }

  mutating func next() throws(UserError) -> FileRow? {
    guard let row = try nextFields() else { return nil }
    guard row.fields.count == header.count else {
      throw UserError(
        .badInput, at: "\(cursor.path):\(row.line)",
        "the row has \(row.fields.count) fields, but the header names \(header.count) columns",
        fix: "put quotes around fields that hold the delimiter or line ends")
    }
    var columns = JSONObject()
    for (name, field) in zip(header, row.fields) { columns[name] = .string(field) }
    return FileRow(columns: columns, line: row.line, byteCount: row.byteCount)
  }

  private static let (quote, newLine, carriageReturn) = (
    UInt8(ascii: "\""), UInt8(ascii: "\n"), UInt8(ascii: "\r")
  )

  /// The next row that is not blank, the line it begins on, and its bytes.
  private mutating func nextFields() throws(UserError)
    -> (fields: [String], line: Int, byteCount: Int)?
  {
    while try cursor.peek() != nil {
      let start = line
      var fields: [String] = []
      var byteCount = 0
      var isQuoted = false
      repeat {
        let fieldLine = line
        isQuoted = try cursor.peek() == Self.quote
        let bytes = isQuoted ? try takeQuoted(start) : try takePlain(start)
        byteCount += bytes.count + 1
        try cursor.checkRow(byteCount, line: start)
        fields.append(try cursor.text(bytes, line: fieldLine))
      } while try takeDelimiter()
      if fields.count == 1 && fields[0].isEmpty && !isQuoted { continue }
      return (fields, start, byteCount)
    }
    return nil
  }

  /// Passes what ends a field; whether another field follows in the row.
  private mutating func takeDelimiter() throws(UserError) -> Bool {
    guard let byte = try cursor.peek() else { return false }
    cursor.position += 1
    if byte == delimiter { return true }
    line += 1
    return false
  }

  /// Up to a delimiter or line end, which stays.
  private mutating func takePlain(_ start: Int) throws(UserError) -> [UInt8] {
    var bytes: [UInt8] = []
    while let byte = try cursor.peek(), byte != delimiter, byte != Self.newLine {
      bytes.append(byte)
      cursor.position += 1
      // A carriage return ends the line only before a line feed.
      if byte == Self.carriageReturn {
        let next = try cursor.peek()
        if next == Self.newLine || next == nil {
          bytes.removeLast()
          break
        }
      }
      try cursor.checkRow(bytes.count, line: start)
    }
    return bytes
  }

  private mutating func takeQuoted(_ start: Int) throws(UserError) -> [UInt8] {
    let quoteLine = line
    cursor.position += 1
    var bytes: [UInt8] = []
    while let byte = try cursor.peek() {
      cursor.position += 1
      if byte == Self.newLine { line += 1 }
      guard byte == Self.quote else {
        bytes.append(byte)
        try cursor.checkRow(bytes.count, line: start)
        continue
      }
      guard let next = try cursor.peek() else { return bytes }
      switch next {
      case Self.quote:
        bytes.append(next)
        cursor.position += 1
      case delimiter, Self.newLine: return bytes
      case Self.carriageReturn:
        cursor.position += 1
        guard let after = try cursor.peek(), after != Self.newLine else { return bytes }
        throw misplaced(after: Self.carriageReturn)
      default: throw misplaced(after: next)
      }
    }
    throw UserError(
      .badInput, at: "\(cursor.path):\(quoteLine)", "a quoted field that begins here has no end",
      fix: "write a quote inside a quoted field twice; the file may not be whole")
  }

  private func misplaced(after byte: UInt8) -> UserError {
    let shown =
      byte >= 0x21 && byte < 0x7F ? "\"\(Character(Unicode.Scalar(byte)))\"" : "other text"
    return UserError(
      .badInput, at: "\(cursor.path):\(line)",
      "\(shown) follows the quote that ends a field",
      fix: "write a quote inside a quoted field twice, and put nothing between a quote and a "
        + "delimiter")
  }
}
