internal import Support

/// JSONL: one object a line; blank lines are passed over.
struct JSONLinesReader: RowReader {
  private var lines: LineReader
  private let cursor: ByteCursor

  init(_ cursor: ByteCursor) {
    self.cursor = cursor
    lines = LineReader(cursor)
  }

  var byteOffset: Int { lines.byteOffset }

  mutating func next() throws(UserError) -> FileRow? {
    while let line = try lines.next() {
      if line.bytes.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }) { continue }
      let row = try parseRow(
        line.bytes, line: line.number, cursor, what: "the line", fix: "write one JSON object a line"
      )
      return FileRow(columns: row, line: line.number, byteCount: line.bytes.count)
    }
    return nil
  }
}

/// A JSON array of objects, taken apart element by element, so that only one is in memory.
struct JSONArrayReader: RowReader {
  private var cursor: ByteCursor
  private var line = 1
  private var elementCount = 0
  private var hasEnded = false

  /// - Parameter cursor: before the bracket that begins the array.
  init(_ cursor: ByteCursor) { self.cursor = cursor }

  var byteOffset: Int { cursor.byteOffset }

  mutating func next() throws(UserError) -> FileRow? {
    guard !hasEnded else { return nil }
    if elementCount == 0 {
      _ = try skipSpace()
      cursor.position += 1
    }
    let first = try skipSpace()
    if elementCount == 0, first == UInt8(ascii: "]") { return try end() }
    let start = line
    let element = try takeElement(from: start)
    let row = try parseRow(
      element, line: start, cursor, what: "element \(elementCount) of the array",
      fix: "write a JSON array of objects")
    elementCount += 1
    if try skipSpace() == UInt8(ascii: ",") {
      cursor.position += 1
    } else {
      _ = try end()
    }
    return FileRow(columns: row, line: start, byteCount: element.count)
  }

  /// Bytes up to the comma or bracket that ends an element, which stays.
  private mutating func takeElement(from start: Int) throws(UserError) -> [UInt8] {
    var bytes: [UInt8] = []
    var (depth, isString, isEscaped) = (0, false, false)
    while let byte = try cursor.peek() {
      if byte == UInt8(ascii: "\n") { line += 1 }
      if isString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isString = false
        }
      } else {
        switch byte {
        case UInt8(ascii: "\""): isString = true
        case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
          if depth == 0 { return bytes }
          depth -= 1
        case UInt8(ascii: ",") where depth == 0: return bytes
        default: break
        }
      }
      bytes.append(byte)
      cursor.position += 1
      try cursor.checkRow(bytes.count, line: start)
    }
    // A whole element, and the array's end is what is missing.
    if depth == 0, !isString, bytes.contains(where: { $0 > 0x20 }) { return bytes }
    throw UserError(
      .badInput, at: "\(cursor.path):\(start)",
      "the file ends inside of element \(elementCount) of the array, which begins here",
      fix: "look for a bracket or quote that is missing; the file may not be whole")
  }

  private mutating func end() throws(UserError) -> FileRow? {
    hasEnded = true
    guard try cursor.peek() == UInt8(ascii: "]") else {
      throw UserError(
        .badInput, at: "\(cursor.path):\(line)", "the array has no ] at its end",
        fix: "the file may not be whole; copy or download it again")
    }
    cursor.position += 1
    guard try skipSpace() == nil else {
      throw UserError(
        .badInput, at: "\(cursor.path):\(line)", "text after the end of the array",
        fix: "write one JSON array, or one JSON object a line")
    }
    return nil
  }

  private mutating func skipSpace() throws(UserError) -> UInt8? {
    while let byte = try cursor.peek() {
      guard byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D else { return byte }
      if byte == 0x0A { line += 1 }
      cursor.position += 1
    }
    return nil
  }
}

/// One object with columns; errors name the line.
private func parseRow(
  _ bytes: [UInt8], line: Int, _ cursor: ByteCursor, what: String, fix: String
) throws(UserError) -> JSONObject {
  _ = try cursor.text(bytes, line: line)
  let value: JSONValue
  do {
    value = try JSONParser.parse(bytes)
  } catch {
    let before = bytes.prefix(error.byteOffset)
    let newLines = before.count { $0 == UInt8(ascii: "\n") }
    throw UserError(
      .badInput, at: "\(cursor.path):\(line + newLines)",
      newLines == 0 ? error.description : "not valid JSON: \(error.reason)", fix: fix)
  }
  guard let object = value.objectValue else {
    throw UserError(
      .badInput, at: "\(cursor.path):\(line)",
      "\(what) holds \(value.kindName), not an object with columns", fix: fix)
  }
  return object
}
