internal import Support

/// The samples of a run and their numbers.
package struct Dataset: Sendable {
  /// The numbers of a dataset as it is trained on.
  package struct Summary: Sendable, Equatable {
    /// Rows of the files, dropped ones included.
    package var rows = 0
    package var tokens = 0
    /// Tokens with loss.
    package var targetTokens = 0
    /// Tokens of the longest sample.
    package var longest = 0
    /// Rows left out because they are too long.
    package var dropped = 0
    /// Rows whose prompt was cut.
    package var truncated = 0
    /// Rows that became several samples.
    package var split = 0

    package init() {}
  }

  /// The files that the rows are from.
  package let sources: [Source]
  package let samples: SampleList
  package let summary: Summary
  /// SHA-256 that tells other samples, or the same in another order.
  package let digest: String

  /// A data file that was tokenized, and how often its rows are seen in an epoch.
  package struct Source: Sendable {
    package var store: TokenStore
    /// 2 is twice; 1.5 is once, and once more for the half of the rows that their hash chooses.
    package var weight: Double

    package init(_ store: TokenStore, weight: Double = 1) {
      self.store = store
      self.weight = weight
    }

    /// How often a row is seen.
    func copies(_ hash: RowHash) -> Int {
      let whole = weight.rounded(.down)
      // The highest 53 bits are a double exactly.
      let chance = Double(hash.second >> 11) * 0x1p-53
      return Int(whole) + (chance < weight - whole ? 1 : 0)
    }
  }
}

extension Dataset {
  /// Puts the samples of a run together.
  ///
  /// - Parameters:
  ///   - sources: data files in order.
  ///   - builder: that tokenized them; has the rule for long rows.
  ///   - holdOut: rows that are kept out of training.
  /// - Returns: what is trained, and what is held out.
  /// - Throws: `UserError` for rows that are too long unless a policy takes care of them, and for
  ///   a dataset that nothing can be learned from.
  package static func make(
    _ sources: [Source], with builder: SampleBuilder, holdOut: HoldOut? = nil
  ) throws -> (training: Dataset, heldOut: Dataset?) {
    let stores = sources.map(\.store)
    let limit = try holdOut?.limit(stores)
    var training = Draft()
    var heldOut = Draft()
    training.parts.reserveCapacity(stores.reduce(0) { $0 + $1.rowCount })
    for (number, source) in sources.enumerated() {
      var rule = LengthRule(builder.settings, bosID: builder.tokenizerBOS)
      // After all rows come those that are seen twice, and so on.
      var laterPasses = [[SampleList.Part]](
        repeating: [], count: max(0, Int(source.weight.rounded(.up)) - 1))
      try source.store.forEachRow { row in
        let isHeldOut = limit.map { row.hash.first <= $0 } ?? false
        let before = rule
        let pieces = try rule.apply(row) {
          try source.store.sample(offset: row.offset, tokenCount: row.tokenCount)
        }
        let copies = isHeldOut ? 1 : source.copies(row.hash)
        let parts = pieces.map {
          SampleList.Part(
            offset: row.offset, rowTokenCount: Int32(row.tokenCount),
            from: Int32($0.range.lowerBound), to: Int32($0.range.upperBound),
            targetTokens: Int32($0.targetTokens), store: Int16(number), kept: Int8($0.kept))
        }
        if isHeldOut {
          heldOut.count(row, pieces, copies: 1, from: before, to: rule)
          heldOut.parts += parts
        } else {
          training.count(row, pieces, copies: copies, from: before, to: rule)
          if copies > 0 { training.parts += parts }
          for pass in 1..<max(1, copies) { laterPasses[pass - 1] += parts }
        }
      }
      try rule.check(path: source.store.origin.path, rowCount: source.store.rowCount)
      for pass in laterPasses { training.parts += pass }
    }
    let path = sources.map(\.store.origin.path).joined(separator: ", ")
    if holdOut != nil {
      guard !training.parts.isEmpty, !heldOut.parts.isEmpty else {
        throw UserError(
          .usage, at: "--holdout",
          "holds out \(heldOut.summary.rows) of \(heldOut.summary.rows + training.summary.rows) "
            + "rows, which leaves nothing to \(heldOut.parts.isEmpty ? "evaluate on" : "train on")",
          fix: "give another --holdout, for example 0.1")
      }
    }
    let trained = try training.finish(sources, path: path)
    return (trained, holdOut == nil ? nil : try heldOut.finish(sources, path: path))
  }

  /// What becomes a dataset.
  private struct Draft {
    var parts: [SampleList.Part] = []
    var summary = Summary()
    private var endTokenCount = 0
    private var hasOwnLabels = false

    mutating func count(
      _ row: TokenRow, _ pieces: [LengthRule.Piece], copies: Int, from before: LengthRule,
      to after: LengthRule
    ) {
      summary.rows += 1
      summary.dropped += after.droppedCount - before.droppedCount
      summary.truncated += after.truncatedCount - before.truncatedCount
      summary.split += after.splitCount - before.splitCount
      if row.flags.contains(.hasOwnLabels) { hasOwnLabels = true }
      guard copies > 0 else { return }
      for piece in pieces {
        let tokens = piece.kept + piece.range.count
        summary.tokens += copies * tokens
        summary.targetTokens += copies * piece.targetTokens
        summary.longest = max(summary.longest, tokens)
        if piece.trainsEnd { endTokenCount += copies }
      }
    }

    func finish(_ sources: [Source], path: String) throws(UserError) -> Dataset {
      guard summary.targetTokens > 0 else {
        throw UserError(
          .badInput, at: path,
          "nothing to learn: \(summary.rows) rows (\(summary.dropped) dropped) with "
            + "\(summary.tokens) tokens hold 0 target tokens",
          fix: hasOwnLabels
            ? "give tokens after the first a label other than \(Sample.ignoredLabel)"
            : "raise --max-length, or look at the rows with the data command")
      }
      guard hasOwnLabels || endTokenCount > 0 else {
        throw UserError(
          .badInput, at: path,
          "of \(parts.count) samples 0 train the end token, so the model would never learn to stop",
          fix: "name the end token as eos_token in the model's tokenizer_config.json")
      }
      let stores = sources.map(\.store)
      let samples = SampleList(stores: stores, parts: parts)
      return Dataset(
        sources: sources, samples: samples, summary: summary, digest: Self.digest(stores, samples))
    }

    private static func digest(_ stores: [TokenStore], _ samples: SampleList) -> String {
      var hash = SHA256()
      for store in stores { hash.update(Array(store.digest.utf8)) }
      let chunk = 1 << 14
      for first in stride(from: 0, to: samples.count, by: chunk) {
        var bytes: [UInt8] = []
        samples.write(to: &bytes, first..<min(first + chunk, samples.count))
        hash.update(bytes)
      }
      return hash.finish()
    }
  }
}
