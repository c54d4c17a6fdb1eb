internal import Data
internal import Support

/// A data file, and how often its rows are seen in an epoch.
package struct DataSource: Sendable, Equatable {
  /// Or `synthetic:ROWSxLENGTH`.
  package var path: String
  package var weight: Double
  /// As the user wrote it.
  package var text: String

  private static let countLimit = 1000
  private static let weightLimit = 1000.0

  /// The files of `--data`.
  static func parse(_ options: ParsedOptions) throws(UserError) -> [DataSource] {
    var sources: [DataSource] = []
    for text in options.listIfAny("data") { sources.append(try DataSource(text, options)) }
    guard sources.count <= countLimit else {
      throw options.error(
        "data", "\(sources.count) files, but at most \(countLimit) may be given",
        fix: "put them together: cat a.jsonl b.jsonl")
    }
    return sources
  }

  /// A file whose rows are seen once an epoch.
  package init(path: String) {
    self.path = path
    weight = 1
    text = path
  }

  /// The file that is read; nil for random tokens.
  package var file: String? { path.hasPrefix(SyntheticRows.prefix) ? nil : path }

  /// What follows the last colon is a weight, unless a file has all of it as its name.
  private init(_ text: String, _ options: ParsedOptions) throws(UserError) {
    self.text = text
    if try SyntheticRows(text) != nil {
      (path, weight) = (text, 1)
      return
    }
    guard let colon = text.lastIndex(of: ":"), !FileSystem.exists(text) else {
      (path, weight) = (text, 1)
      return
    }
    let number = text[text.index(after: colon)...]
    path = String(text[..<colon])
    let isDecimal = number.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
    guard isDecimal, let weight = Double(number) else {
      // Not a number: a part of the path, which is then missing.
      (path, weight) = (text, 1)
      return
    }
    guard weight > 0, weight <= Self.weightLimit, !path.isEmpty else {
      throw options.error(
        "data", "\(text): the weight \(number) must be greater than 0 and at most 1000",
        fix: "leave the file out, or write PATH:2 to show its rows twice an epoch")
    }
    self.weight = weight
  }
}
