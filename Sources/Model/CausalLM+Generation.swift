internal import Compute

extension CausalLM {
  /// Continues several prompts side by side, always with the most likely token.
  ///
  /// - Parameters:
  ///   - prompts: token ids, each at least one.
  ///   - maximumNewTokens: the most tokens that are added to a prompt.
  ///   - endIDs: tokens that end a text; they are not part of the result.
  ///   - isAnyActive: is told before each pass whether this rank has texts to continue, and says
  ///     whether any rank has; ranks without run a pass that computes nothing.
  ///   - didAppend: called with the number of a prompt and each new token; false stops that text.
  /// - Returns: the new tokens of each prompt, and whether an end token came.
  /// - Throws: when the device fails.
  package func complete(
    prompts: [[Int32]], maximumNewTokens: Int, endIDs: Set<Int32>,
    isAnyActive: (Bool) throws -> Bool = { $0 },
    didAppend: (_ prompt: Int, _ id: Int32) -> Bool = { _, _ in true }
  ) throws -> [(ids: [Int32], hasEnded: Bool)] {
    let longest = prompts.map(\.count).max() ?? 0
    let cache = try KeyValueCache(
      configuration, textCount: prompts.count, capacity: longest + maximumNewTokens,
      backend: backend)
    var results = prompts.map { _ in (ids: [Int32](), hasEnded: false) }
    var isActive = prompts.map { !$0.isEmpty && maximumNewTokens > 0 }
    var pending = prompts
    while try isAnyActive(isActive.contains(true)) {
      guard isActive.contains(true) else {
        try skipPass(isTraining: false)
        continue
      }
      let (input, rows) = Self.continuation(pending, isActive, lengths: cache.lengths)
      let pass = try forward(input, retention: .nothing, cache: cache)
      let next = try mostLikely(pass, rows: rows)
      var row = 0
      for text in prompts.indices where isActive[text] {
        let id = next[row]
        row += 1
        if endIDs.contains(id) {
          results[text].hasEnded = true
          isActive[text] = false
        } else {
          results[text].ids.append(id)
          pending[text] = [id]
          isActive[text] =
            didAppend(text, id) && results[text].ids.count < maximumNewTokens
        }
      }
    }
    return results
  }

  /// The new tokens of all texts as one pack, and the last row of each that is continued.
  private static func continuation(_ pending: [[Int32]], _ isActive: [Bool], lengths: [Int])
    -> (PackInput, rows: [Int32])
  {
    var tokens: [Int32] = []
    var positions: [Int32] = []
    var boundaries = [0]
    var rows: [Int32] = []
    for text in pending.indices {
      if isActive[text] {
        tokens += pending[text]
        positions += Int32(lengths[text])..<Int32(lengths[text] + pending[text].count)
        rows.append(Int32(tokens.count - 1))
      }
      boundaries.append(tokens.count)
    }
    let input = PackInput(
      tokens: tokens, positions: positions,
      sampleIndices: [Int32](repeating: 0, count: tokens.count), boundaries: boundaries,
      targetRows: [], targets: [])
    return (input, rows)
  }

  private func mostLikely(_ pass: Pass, rows: [Int32]) throws -> [Int32] {
    let logits = try logits(pass, rows: rows)
    let ids = arena.allocate(1, rows.count, .int32)
    try backend.argmax(logits, out: ids)
    return try backend.downloadInt32(ids)
  }
}
