internal import Support

/// A row as it stands in a file.
struct FileRow {
  var columns: JSONObject
  /// Where it begins, from 1.
  var line: Int
  /// Bytes of text that it was read from.
  var byteCount: Int
}

/// Takes the rows of a file of one format apart.
protocol RowReader {
  /// The next row; nil at the end.
  mutating func next() throws(UserError) -> FileRow?
  /// Bytes of the file that were read.
  var byteOffset: Int { get }
}

/// The formats of data files.
enum FileFormat: String {
  case jsonLines = "JSONL"
  case jsonArray = "JSON array"
  case csv = "CSV"
  case tsv = "TSV"

  /// The format that a file's name and its first bytes tell.
  ///
  /// A name that ends in `.csv`, `.tsv` or `.tab` decides, with or without `.gz` behind it. Otherwise
  /// `[` begins a JSON array and `{` an object a line; of other text the first line must have tabs
  /// or commas.
  ///
  /// - Parameters:
  ///   - path: of the file.
  ///   - cursor: at its beginning; it does not move.
  /// - Throws: `UserError` when the file cannot be read.
  static func detect(_ path: String, _ cursor: ByteCursor) throws(UserError) -> FileFormat {
    var name = FileSystem.name(of: path).lowercased()
    if name.hasSuffix(".gz") { name.removeLast(3) }
    if name.hasSuffix(".csv") { return .csv }
    if name.hasSuffix(".tsv") || name.hasSuffix(".tab") { return .tsv }
    let text = cursor.start.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
    guard let first = text.first else { return .jsonLines }
    if first == UInt8(ascii: "[") { return .jsonArray }
    if first == UInt8(ascii: "{") || name.hasSuffix(".json") || name.hasSuffix(".jsonl") {
      return .jsonLines
    }
    let line = text.prefix { $0 != 0x0A }
    if line.contains(UInt8(ascii: "\t")) { return .tsv }
    return line.contains(UInt8(ascii: ",")) ? .csv : .jsonLines
  }

  /// A reader of this format.
  func reader(_ cursor: ByteCursor) throws(UserError) -> any RowReader {
    switch self {
    case .jsonLines: JSONLinesReader(cursor)
    case .jsonArray: JSONArrayReader(cursor)
    case .csv: try DelimitedReader(cursor, delimiter: UInt8(ascii: ","))
    case .tsv: try DelimitedReader(cursor, delimiter: UInt8(ascii: "\t"))
    }
  }
}
