internal import Support

extension TokenStore {
  /// Where tokenized rows go.
  package struct Destination: Sendable {
    package var path: String
    /// Tells what the rows were made of; whoever asks for it later gets them.
    package var key: String

    package init(path: String, key: String) {
      self.path = path
      self.key = key
    }
  }

  /// Rows that are tokenized together: so many, or fewer where they are long. A row of ids takes
  /// thirty times the memory of its text while it is read.
  private static let batchRowCount = 1024
  private static let batchByteCount = 1 << 22

  /// Tokenizes a data file.
  ///
  /// - Parameters:
  ///   - reader: the data file.
  ///   - builder: makes samples of rows.
  ///   - limit: the first rows only; nil for all.
  ///   - destination: a file that is written; nil keeps all in memory.
  ///   - threads: how many threads tokenize; the rows do not depend on it.
  ///   - progress: called now and then with bytes done and bytes in all.
  /// - Returns: the rows.
  /// - Throws: `UserError` for the first row that is wrong, and when the file cannot be written.
  package static func build(
    _ reader: DatasetReader, with builder: SampleBuilder, limit: Int? = nil,
    destination: Destination? = nil, threads: Int = 1,
    progress: ((_ done: Int, _ total: Int) -> Void)? = nil
  ) throws -> TokenStore {
    let look = try reader.look()
    let origin = Origin(path: reader.path, format: look.format, columns: look.columns)
    let sink = try Sink(path: destination?.path)
    var batch: [DatasetRow] = []
    var (rowCount, byteCount) = (0, 0)
    func flush() throws {
      for (entry, draft) in zip(
        batch, try builder.drafts(batch, path: reader.path, threads: threads))
      {
        try sink.append(entry, draft)
      }
      batch.removeAll(keepingCapacity: true)
      byteCount = 0
    }
    try reader.forEachRow(progress: progress) { entry in
      guard rowCount < limit ?? .max else { return false }
      rowCount += 1
      byteCount += entry.byteCount
      batch.append(entry)
      if batch.count == batchRowCount || byteCount >= batchByteCount { try flush() }
      return true
    }
    try flush()
    return try sink.finish(origin, destination)
  }

  /// Takes numbers and rows, to a file or to memory.
  private final class Sink {
    private var file: TokenFile.Writer?
    private var numbers: [Int32] = []
    private var numberCount = 0
    /// Where there is no file.
    private var rows: [TokenRow] = []
    private var rowCount = 0
    private var hash = SHA256()

    init(path: String?) throws(UserError) {
      if let path { file = try TokenFile.Writer(path: path) }
    }

    func append(_ entry: DatasetRow, _ draft: SampleBuilder.Draft) throws(UserError) {
      let sample = draft.sample
      var flags: TokenRow.Flags = []
      if draft.trainsEnd { flags.insert(.trainsEnd) }
      if draft.isTokenRow { flags.insert(.hasOwnLabels) }
      if case .pair(_, "") = entry.row { flags.insert(.hasEmptyAnswer) }
      let row = TokenRow(
        offset: numberCount, tokenCount: sample.tokens.count,
        targetTokens: sample.targetTokens, answerStart: draft.answerStart, flags: flags,
        line: entry.line, hash: RowHash(entry.columns))
      rowCount += 1
      numberCount += 2 * sample.tokens.count
      try file?.append(row)
      if file == nil {
        rows.append(row)
        numbers += sample.tokens
        numbers += sample.labels
      }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(8 * sample.tokens.count)
      for number in sample.tokens { LittleEndian.append(number, to: &bytes) }
      for number in sample.labels { LittleEndian.append(number, to: &bytes) }
      hash.update(bytes)
      try file?.append(bytes)
    }

    func finish(_ origin: Origin, _ destination: Destination?) throws -> TokenStore {
      try file?.appendRows(&hash)
      for row in rows {
        var bytes: [UInt8] = []
        row.write(to: &bytes)
        hash.update(bytes)
      }
      let digest = hash.finish()
      guard let destination else {
        return TokenStore(origin: origin, numbers: numbers, rows: rows, digest: digest)
      }
      try file?.finish(
        JSONObject([
          ("key", .string(destination.key)), ("numbers", .integer(numberCount)),
          ("rows", .integer(rowCount)), ("digest", .string(digest)),
          ("format", .string(origin.format)),
          ("columns", .array(origin.columns.map { .string($0) })),
        ]))
      guard
        let store = TokenFile.open(
          destination.path, key: destination.key, dataPath: origin.path, checksAll: false)
      else {
        throw UserError(
          .system, at: destination.path, "the file that was just written cannot be read",
          fix: "give another directory with --cache, or --no-cache")
      }
      return store
    }
  }
}
