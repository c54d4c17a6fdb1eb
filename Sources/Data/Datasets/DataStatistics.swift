internal import Support

/// The numbers of tokenized rows before any rule for long ones: what a user looks at before a run.
package struct DataStatistics: Sendable {
  package private(set) var rows = 0
  package private(set) var tokens = 0
  package private(set) var targetTokens = 0
  /// Rows that say the same as an earlier one.
  package private(set) var duplicates = 0
  package private(set) var emptyAnswers = 0
  /// Rows of which no token is trained.
  package private(set) var untrained = 0
  /// Rows whose last token is not a trained end token.
  package private(set) var withoutEnd = 0
  /// Tokens of every row, ascending.
  package private(set) var lengths: [Int] = []

  private let sources: [Dataset.Source]

  /// Counts the rows of data files.
  package init(_ sources: [Dataset.Source]) throws {
    self.sources = sources
    var hashes: Set<RowHash> = []
    for source in sources {
      try source.store.forEachRow { row in
        rows += 1
        tokens += row.tokenCount
        targetTokens += row.targetTokens
        if !hashes.insert(row.hash).inserted { duplicates += 1 }
        if row.flags.contains(.hasEmptyAnswer) { emptyAnswers += 1 }
        if row.targetTokens == 0 { untrained += 1 }
        if !row.flags.contains(.trainsEnd) { withoutEnd += 1 }
        lengths.append(row.tokenCount)
      }
    }
    lengths.sort()
  }

  /// The length that this part of the rows does not exceed.
  package func quantile(_ part: Double) -> Int {
    guard !lengths.isEmpty else { return 0 }
    return lengths[
      min(lengths.count - 1, max(0, Int((part * Double(lengths.count)).rounded(.up)) - 1))]
  }

  /// What rows lose that are cut at their end.
  package struct Loss: Sendable, Equatable {
    package var maxLength: Int
    package var rows = 0
    package var targetTokens = 0
    package var ends = 0

    package init(maxLength: Int, rows: Int = 0, targetTokens: Int = 0, ends: Int = 0) {
      self.maxLength = maxLength
      self.rows = rows
      self.targetTokens = targetTokens
      self.ends = ends
    }
  }

  /// What a cut at each of some lengths loses.
  ///
  /// - Parameter lengths: ascending.
  /// - Returns: the losses in the same order.
  /// - Throws: `UserError` when samples cannot be read.
  package func losses(at lengths: [Int]) throws -> [Loss] {
    var losses = lengths.map { Loss(maxLength: $0) }
    guard let least = lengths.first else { return [] }
    for source in sources {
      try source.store.forEachRow { row in
        guard row.tokenCount > least else { return }
        let sample = try source.store.sample(offset: row.offset, tokenCount: row.tokenCount)
        for index in losses.indices where row.tokenCount > losses[index].maxLength {
          losses[index].rows += 1
          losses[index].targetTokens += sample.labels[losses[index].maxLength...].count {
            $0 != Sample.ignoredLabel
          }
          if row.flags.contains(.trainsEnd) { losses[index].ends += 1 }
        }
      }
    }
    return losses
  }

  /// The first samples as they are trained when nothing is cut.
  package func samples(_ count: Int) throws -> [(path: String, line: Int, sample: Sample)] {
    var result: [(path: String, line: Int, sample: Sample)] = []
    for source in sources {
      try source.store.forEachRow { row in
        guard result.count < count else { return }
        result.append(
          (
            source.store.origin.path, row.line,
            try source.store.sample(offset: row.offset, tokenCount: row.tokenCount)
          ))
      }
    }
    return result
  }
}

extension SampleBuilder {
  /// The same builder with another rule for long samples.
  package func with(maxLength: Int?, overlength: Overlength) -> SampleBuilder {
    var copy = self
    copy.settings.maxLength = maxLength
    copy.settings.overlength = overlength
    return copy
  }
}
