package import Support

/// Reads the rows of a JSONL file one by one.
package struct DatasetReader: Sendable {
  package let path: String
  private let file: MappedFile
  private let vocabularySize: Int
  private let templates: RowFormat?

  /// Opens a dataset.
  ///
  /// - Parameters:
  ///   - path: a file with one JSON object a line.
  ///   - prompt: what becomes a row's prompt; without it the columns of the first row decide.
  ///   - completion: what becomes a row's answer; given with `prompt` or not at all.
  ///   - vocabularySize: token ids lie below it.
  /// - Throws: `UserError` when the file is missing or empty, or one template is without the other.
  package init(
    path: String, prompt: RowTemplate? = nil, completion: RowTemplate? = nil, vocabularySize: Int
  ) throws(UserError) {
    self.path = path
    self.vocabularySize = vocabularySize
    switch (prompt, completion) {
    case (let prompt?, let completion?):
      templates = .pair(prompt: prompt, completion: completion)
    case (nil, nil): templates = nil
    default:
      let (given, other) =
        prompt == nil ? ("--completion", "--prompt") : ("--prompt", "--completion")
      throw UserError(
        .usage, at: given, "is given without \(other)",
        fix: "add \(other), for example \(other) '\(prompt == nil ? "{input}" : "{output}")'")
    }
    file = try MappedFile(path: path)
    guard file.byteCount > 0 else {
      throw UserError(
        .badInput, at: path, "the file is empty", fix: "write one JSON object a line")
    }
  }

  /// Calls `body` with every row and the number of its line, in file order.
  ///
  /// - Parameters:
  ///   - progress: called now and then with bytes done and bytes in all.
  ///   - body: takes a row.
  /// - Throws: `UserError` that names the line, for the first line that is wrong, and when the file
  ///   has no rows.
  package func forEachRow(
    progress: ((_ done: Int, _ total: Int) -> Void)? = nil,
    _ body: (_ row: Row, _ line: Int) throws -> Void
  ) throws {
    var reader = LineReader(file)
    var format = templates
    var rowCount = 0
    while let (columns, line) = try nextColumns(&reader) {
      let location = "\(path):\(line)"
      let known = try format ?? RowFormat.detect(columns, at: location)
      format = known
      try body(
        try known.read(columns, at: location, vocabularySize: vocabularySize), line)
      rowCount += 1
      if rowCount % 256 == 0 { progress?(reader.byteOffset, file.byteCount) }
    }
    guard rowCount > 0 else {
      throw UserError(
        .badInput, at: path, "no rows: every line is blank", fix: "write one JSON object a line")
    }
    progress?(file.byteCount, file.byteCount)
  }

  /// Whether the rows are tokens already, as the first one tells; these need no tokenizer.
  package func holdsTokens() throws(UserError) -> Bool {
    var reader = LineReader(file)
    guard templates == nil, let (columns, line) = try nextColumns(&reader) else { return false }
    return try RowFormat.detect(columns, at: "\(path):\(line)") == .tokens
  }

  /// How the rows are read, as the first one tells; nil where there is none.
  package func rowFormat() throws(UserError) -> RowFormat? {
    if let templates { return templates }
    var reader = LineReader(file)
    guard let (columns, line) = try nextColumns(&reader) else { return nil }
    return try RowFormat.detect(columns, at: "\(path):\(line)")
  }

  /// The columns of the next row, and its line; blank lines are passed over. Nil at the end.
  private func nextColumns(_ reader: inout LineReader) throws(UserError) -> (JSONObject, line: Int)?
  {
    while var line = try reader.next() {
      if line.number == 1, line.bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
        line.bytes.removeFirst(3)
      }
      if line.bytes.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }) { continue }
      return (try Self.columns(line.bytes, "\(path):\(line.number)"), line.number)
    }
    return nil
  }

  private static func columns(_ bytes: [UInt8], _ location: String) throws(UserError)
    -> JSONObject
  {
    if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
      throw UserError(
        .badInput, at: location, "the file is UTF-16, but JSONL is UTF-8",
        fix: "convert it: iconv -f UTF-16 -t UTF-8")
    }
    guard String(validating: bytes, as: UTF8.self) != nil else {
      throw UserError(
        .badInput, at: location, "the line is not UTF-8", fix: "save the file as UTF-8")
    }
    let value: JSONValue
    do {
      value = try JSONParser.parse(bytes)
    } catch {
      throw UserError(
        .badInput, at: location, error.description, fix: "write one JSON object a line")
    }
    guard let object = value.objectValue else {
      throw UserError(
        .badInput, at: location, "the line holds \(value.kindName), not an object with columns",
        fix: "write one JSON object a line")
    }
    return object
  }
}
