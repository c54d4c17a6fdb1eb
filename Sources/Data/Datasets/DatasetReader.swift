package import Support

/// A row of a data file.
package struct DatasetRow: Sendable {
  /// What the file says.
  package var columns: JSONObject
  /// What it means.
  package var row: Row
  /// Where it begins, from 1.
  package var line: Int
  /// Bytes of text that it was read from.
  package var byteCount: Int
}

/// Reads the rows of a data file one by one: JSONL, a JSON array, CSV or TSV, or gzip of these; or
/// makes rows of random tokens.
package struct DatasetReader: Sendable {
  package let path: String
  private let content: Content
  private let vocabularySize: Int
  private let templates: RowFormat?

  private enum Content: Sendable {
    case file(MappedFile)
    case synthetic(SyntheticRows)
  }

  /// Opens a dataset.
  ///
  /// - Parameters:
  ///   - path: the file, or `synthetic:ROWSxLENGTH`.
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
    if let rows = try SyntheticRows(path) {
      content = .synthetic(rows)
      return
    }
    let file = try MappedFile(path: path)
    content = .file(file)
    guard file.byteCount > 0 else {
      throw UserError(
        .badInput, at: path, "the file is empty", fix: "write one JSON object a line")
    }
  }

  /// Whether the rows are made and not read.
  package var isSynthetic: Bool { if case .synthetic = content { true } else { false } }

  /// Bytes of the file.
  package var byteCount: Int { if case .file(let file) = content { file.byteCount } else { 0 } }

  /// The format of the file and the columns of its first row: `CSV, gzip` and their names.
  package func look() throws(UserError) -> (format: String, columns: [String]) {
    guard case .file(let file) = content else { return ("random tokens", ["input_ids"]) }
    var (format, reader) = try open(file)
    let columns = try reader.next().map { $0.columns.names } ?? []
    return (format, columns)
  }

  /// Calls `body` with every row, in file order.
  ///
  /// - Parameters:
  ///   - progress: called now and then with bytes done and bytes in all.
  ///   - body: takes a row; returns whether to go on.
  /// - Throws: `UserError` that names the line, for the first line that is wrong, and when the file
  ///   has no rows.
  package func forEachRow(
    progress: ((_ done: Int, _ total: Int) -> Void)? = nil,
    _ body: (DatasetRow) throws -> Bool
  ) throws {
    let file: MappedFile
    switch content {
    case .synthetic(let rows):
      for number in 0..<rows.rowCount {
        guard try body(rows.row(number, vocabularySize: vocabularySize)) else { return }
      }
      return
    case .file(let mapped): file = mapped
    }
    var (_, reader) = try open(file)
    var format = templates
    var rowCount = 0
    while let entry = try reader.next() {
      let location = "\(path):\(entry.line)"
      let known = try format ?? RowFormat.detect(entry.columns, at: location)
      format = known
      let row = try known.read(entry.columns, at: location, vocabularySize: vocabularySize)
      rowCount += 1
      guard
        try body(
          DatasetRow(
            columns: entry.columns, row: row, line: entry.line, byteCount: entry.byteCount))
      else { return }
      if rowCount % 256 == 0 { progress?(reader.byteOffset, file.byteCount) }
    }
    guard rowCount > 0 else {
      throw UserError(
        .badInput, at: path, "no rows: there is nothing but a header or blank lines",
        fix: "write one row a line")
    }
    progress?(file.byteCount, file.byteCount)
  }

  /// Whether the rows are tokens already, as the first one tells; these need no tokenizer.
  package func holdsTokens() throws(UserError) -> Bool {
    try rowFormat() == .tokens
  }

  /// How the rows are read, as the first one tells; nil where there is none.
  package func rowFormat() throws(UserError) -> RowFormat? {
    guard case .file(let file) = content else { return .tokens }
    if let templates { return templates }
    var (_, reader) = try open(file)
    guard let first = try reader.next() else { return nil }
    return try RowFormat.detect(first.columns, at: "\(path):\(first.line)")
  }

  private func open(_ file: MappedFile) throws(UserError) -> (format: String, reader: any RowReader)
  {
    let bytes = try DataBytes(file)
    let cursor = try ByteCursor(bytes)
    let format = try FileFormat.detect(path, cursor)
    return (
      format.rawValue + (bytes.isCompressed ? ", gzip" : ""), try format.reader(cursor)
    )
  }
}
