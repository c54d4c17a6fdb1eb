internal import Support

/// Applies `--max-length` row by row, and counts.
struct LengthRule {
  /// What a row becomes.
  struct Piece {
    /// The row's first token stays, as the one that begins sequences.
    var kept = 0
    var range: Range<Int>
    var targetTokens: Int
    var trainsEnd: Bool
  }

  private let settings: SampleBuilder.Settings
  private let bosID: Int32?

  private(set) var droppedCount = 0
  private(set) var truncatedCount = 0
  private(set) var splitCount = 0
  /// Rows that the policy has no answer for.
  private var refusedCount = 0
  private var refusedLongest = 0
  private var refusedFirstLine = 0

  init(_ settings: SampleBuilder.Settings, bosID: Int32?) {
    self.settings = settings
    self.bosID = bosID
  }

  /// The row in its allowed length.
  ///
  /// - Parameters:
  ///   - row: of any length.
  ///   - read: its tokens, which only some policies need.
  /// - Returns: one piece, none where the row is dropped or refused, or several where it is split.
  mutating func apply(_ row: TokenRow, _ read: () throws -> Sample) throws -> [Piece] {
    let count = row.tokenCount
    let trainsEnd = row.flags.contains(.trainsEnd)
    guard let maxLength = settings.maxLength, count > maxLength else {
      return [Piece(range: 0..<count, targetTokens: row.targetTokens, trainsEnd: trainsEnd)]
    }
    switch settings.overlength {
    case .drop:
      droppedCount += 1
      return []
    case .error:
      refuse(count, row.line)
      return []
    case .truncatePrompt:
      let sample = try read()
      let kept = sample.tokens.first == bosID && row.answerStart > 0 ? 1 : 0
      let removed = count - maxLength
      guard removed <= row.answerStart - kept else {
        refuse(count - row.answerStart + kept, row.line)
        return []
      }
      truncatedCount += 1
      let range = kept + removed..<count
      return [
        Piece(
          kept: kept, range: range, targetTokens: sample.part(kept: kept, range).targetTokens,
          trainsEnd: trainsEnd)
      ]
    case .split:
      let sample = try read()
      splitCount += 1
      return Self.cuts(count, maxLength).compactMap { range in
        let targets = sample.part(kept: 0, range).targetTokens
        // Nothing is learned from a piece of the prompt alone.
        guard targets > 0 else { return nil }
        return Piece(
          range: range, targetTokens: targets, trainsEnd: trainsEnd && range.upperBound == count)
      }
    }
  }

  /// Pieces of at most `maxLength` tokens of which each begins with the last token of the one
  /// before, so that every token but the very first is predicted exactly once.
  static func cuts(_ count: Int, _ maxLength: Int) -> [Range<Int>] {
    guard count > maxLength else { return [0..<count] }
    return stride(from: 0, to: count - 1, by: maxLength - 1).map {
      $0..<min(count, $0 + maxLength)
    }
  }

  private mutating func refuse(_ length: Int, _ line: Int) {
    refusedCount += 1
    refusedLongest = max(refusedLongest, length)
    if refusedFirstLine == 0 { refusedFirstLine = line }
  }

  /// Throws when rows were refused, with the numbers.
  func check(path: String, rowCount: Int) throws(UserError) {
    guard refusedCount > 0, let maxLength = settings.maxLength else { return }
    let location = "\(path):\(refusedFirstLine)"
    if settings.overlength == .truncatePrompt {
      throw UserError(
        .badInput, at: location,
        "the answer alone does not fit into --max-length \(maxLength) in \(refusedCount) of "
          + "\(rowCount) rows; the longest needs \(refusedLongest) tokens",
        fix:
          "raise --max-length to \(refusedLongest), or leave such rows out with --overlength drop")
    }
    throw UserError(
      .badInput, at: location,
      "\(refusedCount) of \(rowCount) rows are longer than --max-length \(maxLength); the longest "
        + "has \(refusedLongest) tokens",
      fix: "raise --max-length to \(refusedLongest), or choose --overlength drop, truncate-prompt "
        + "or split; the data command shows what each length cuts")
  }
}
