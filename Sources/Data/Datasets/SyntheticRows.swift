package import Support

/// Rows of random tokens in place of a file: `synthetic:ROWSxLENGTH`. Every token is learned, and a
/// row depends on its number, its length and the vocabulary alone.
package struct SyntheticRows: Sendable, Equatable {
  /// What the name of such data begins with.
  package static let prefix = "synthetic:"
  private static let countLimit = 1 << 24
  private static let tokenLimit = 1 << 28

  package let rowCount: Int
  package let length: Int

  /// The rows that a name asks for; nil for the path of a file.
  ///
  /// - Parameter name: of data.
  /// - Throws: `UserError` when it is neither.
  package init?(_ name: String) throws(UserError) {
    guard name.hasPrefix(Self.prefix) else { return nil }
    let parts = name.dropFirst(Self.prefix.count).split(
      separator: "x", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { part -> Int? in
      guard !part.isEmpty, part.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
      return Int(part).flatMap { (1...Self.countLimit).contains($0) ? $0 : nil }
    }
    guard parts.count == 2, numbers.count == 2, numbers[1] >= 2,
      numbers[0] * numbers[1] <= Self.tokenLimit
    else {
      throw UserError(
        .usage, at: "--data",
        "\(name.prefix(80)): not a number of rows, x, and the tokens of each (2 or more), of "
          + "\(Self.tokenLimit) tokens at most",
        fix: "write synthetic:64x2048 for 64 rows of 2048 random tokens")
    }
    (rowCount, length) = (numbers[0], numbers[1])
  }

  /// A row, `number` from 0.
  func row(_ number: Int, vocabularySize: Int) -> DatasetRow {
    var generator = SeededGenerator(seed: 0, stream: UInt64(number))
    let ids = (0..<length).map { _ in Int32(generator.next(below: vocabularySize)) }
    return DatasetRow(
      columns: JSONObject([("input_ids", .array(ids.map { .integer(Int($0)) }))]),
      row: .tokens(ids, labels: ids), line: number + 1, byteCount: 8 * length)
  }
}
