internal import Support

/// Applies `--max-length` row by row, and counts.
struct LengthRule {
  private let settings: SampleBuilder.Settings
  private let bosID: Int32?

  private(set) var droppedCount = 0
  private(set) var truncatedCount = 0
  /// Rows that the policy has no answer for.
  private var refusedCount = 0
  private var refusedLongest = 0
  private var refusedFirstLine = 0

  init(_ settings: SampleBuilder.Settings, bosID: Int32?) {
    self.settings = settings
    self.bosID = bosID
  }

  /// The sample in its allowed length, or nil where it is dropped or refused.
  mutating func apply(_ draft: SampleBuilder.Draft, line: Int) -> Sample? {
    let sample = draft.sample
    guard let maxLength = settings.maxLength, sample.tokens.count > maxLength else {
      return sample
    }
    switch settings.overlength {
    case .drop:
      droppedCount += 1
      return nil
    case .error:
      refuse(sample.tokens.count, line)
      return nil
    case .truncatePrompt:
      let kept = sample.tokens.first == bosID && draft.answerStart > 0 ? 1 : 0
      let removed = sample.tokens.count - maxLength
      guard removed <= draft.answerStart - kept else {
        refuse(sample.tokens.count - draft.answerStart + kept, line)
        return nil
      }
      truncatedCount += 1
      var (tokens, labels) = (sample.tokens, sample.labels)
      tokens.removeSubrange(kept..<kept + removed)
      labels.removeSubrange(kept..<kept + removed)
      return Sample(tokens: tokens, labels: labels)
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
      fix: "raise --max-length to \(refusedLongest), or choose --overlength drop or truncate-prompt"
    )
  }
}
