package import Support

/// Which samples make which pack and which packs make which step.
///
/// The plan follows from the lengths of the samples and the settings alone. It knows nothing of
/// ranks, so any number of them computes the same steps.
package struct PackPlan: Sendable {
  /// How samples come together in a pack.
  package enum Filling: Sendable, Equatable {
    /// So many samples, one after the other.
    case samplesPerPack(Int)
    /// Up to so many tokens, best fit over windows of samples.
    case packTokens(Int)
  }

  package struct Settings: Sendable, Equatable {
    package var filling: Filling
    package var packsPerStep: Int
    package var shuffle: Bool
    package var seed: UInt64
    /// How often each sample is seen; nil when only `maxSteps` ends the run.
    package var epochs: Int?
    /// Ends the run at this step, if the epochs do not end it before.
    package var maxSteps: Int?

    package init(
      filling: Filling, packsPerStep: Int, shuffle: Bool = true, seed: UInt64 = 0,
      epochs: Int? = 1, maxSteps: Int? = nil
    ) {
      self.filling = filling
      self.packsPerStep = packsPerStep
      self.shuffle = shuffle
      self.seed = seed
      self.epochs = epochs
      self.maxSteps = maxSteps
    }
  }

  /// How many samples best fit looks at together.
  package static let windowSampleCount = 1024

  package let settings: Settings
  /// The number of the last step.
  package let totalSteps: Int
  private let lengths: [Int32]
  /// Steps of each epoch, where all have the same number of packs.
  private let constantEpochSteps: Int?
  /// Otherwise, for each epoch of the run, the number of its last step.
  private let lastSteps: [Int]
  private var cached: (epoch: Int, packs: PackList)

  /// Plans a run.
  ///
  /// - Parameters:
  ///   - lengths: tokens of each sample, at least one sample of at least one token.
  ///   - settings: how packs and steps are formed.
  /// - Throws: `UserError` when a setting is out of range or a sample is longer than a pack.
  package init(lengths: [Int], settings: Settings) throws(UserError) {
    precondition(!lengths.isEmpty && lengths.allSatisfy { $0 > 0 }, "samples without tokens")
    try Self.check(settings, lengths)
    let lengths = lengths.map { Int32(clamping: $0) }
    self.lengths = lengths
    self.settings = settings
    cached = (1, Self.packs(ofEpoch: 1, lengths, settings))

    func stepCount(_ packCount: Int) -> Int {
      (packCount + settings.packsPerStep - 1) / settings.packsPerStep
    }
    if !settings.shuffle || settings.filling.isSamplesPerPack {
      let steps = stepCount(cached.packs.count)
      constantEpochSteps = steps
      lastSteps = []
      totalSteps = min(settings.epochs.map { $0 * steps } ?? Int.max, settings.maxSteps ?? Int.max)
      return
    }
    var ends = [stepCount(cached.packs.count)]
    var end = ends[0]
    while ends.count < settings.epochs ?? Int.max, end < settings.maxSteps ?? Int.max {
      end += stepCount(Self.packs(ofEpoch: ends.count + 1, lengths, settings).count)
      ends.append(end)
    }
    constantEpochSteps = nil
    lastSteps = ends
    totalSteps = min(end, settings.maxSteps ?? Int.max)
  }

  /// The largest value of every count in the settings.
  private static let limit = 1_000_000_000

  private static func check(_ settings: Settings, _ lengths: [Int]) throws(UserError) {
    func require(_ value: Int?, _ flag: String) throws(UserError) {
      if let value, !(1...limit).contains(value) {
        throw UserError(.usage, at: flag, "\(value), but it must be from 1 to \(limit)")
      }
    }
    try require(settings.packsPerStep, "--packs-per-step")
    try require(settings.epochs, "--epochs")
    try require(settings.maxSteps, "--max-steps")
    guard settings.epochs != nil || settings.maxSteps != nil else {
      throw UserError(
        .usage, "neither --epochs nor --max-steps says when the run ends", fix: "give one of them")
    }
    switch settings.filling {
    case .samplesPerPack(let count): try require(count, "--samples-per-pack")
    case .packTokens(let capacity):
      try require(capacity, "--pack-tokens")
      let longest = lengths.max() ?? 0
      guard longest <= capacity else {
        let count = lengths.count { $0 > capacity }
        throw UserError(
          .badInput, at: "--pack-tokens",
          "\(count) of \(lengths.count) samples are longer than a pack of \(capacity) tokens; the "
            + "longest has \(longest)",
          fix: "raise --pack-tokens to \(longest), or shorten samples with --max-length \(capacity)"
        )
      }
    }
  }
}

extension PackPlan {
  /// The packs of a step as sample indices. Asking for steps in order costs least.
  ///
  /// - Parameter step: from 1 to ``totalSteps``.
  /// - Returns: the packs in order; the last step of an epoch may hold fewer than the others.
  package mutating func packs(ofStep step: Int) -> [[Int]] {
    let epoch = epoch(ofStep: step)
    if cached.epoch != epoch { cached = (epoch, Self.packs(ofEpoch: epoch, lengths, settings)) }
    let first = (step - firstStep(ofEpoch: epoch)) * settings.packsPerStep
    return (first..<min(first + settings.packsPerStep, cached.packs.count)).map {
      cached.packs[$0]
    }
  }

  /// The epoch, from 1 on, that a step belongs to.
  package func epoch(ofStep step: Int) -> Int {
    precondition(step >= 1 && step <= totalSteps, "step \(step) of \(totalSteps)")
    if let constantEpochSteps { return (step - 1) / constantEpochSteps + 1 }
    var (low, high) = (0, lastSteps.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if lastSteps[middle] < step { low = middle + 1 } else { high = middle }
    }
    return low + 1
  }

  /// The step that begins an epoch of the run.
  package func firstStep(ofEpoch epoch: Int) -> Int {
    if let constantEpochSteps { return (epoch - 1) * constantEpochSteps + 1 }
    return epoch == 1 ? 1 : lastSteps[epoch - 2] + 1
  }

  /// Packs and steps of the first epoch, were it run to its end.
  package var firstEpoch: (packs: Int, steps: Int) {
    let count =
      cached.epoch == 1 ? cached.packs.count : Self.packs(ofEpoch: 1, lengths, settings).count
    return (count, (count + settings.packsPerStep - 1) / settings.packsPerStep)
  }

  /// The part of the packs' room that tokens fill in the first epoch; nil where packs have no room
  /// to fill.
  package var fillRate: Double? {
    guard case .packTokens(let capacity) = settings.filling else { return nil }
    return Double(lengths.reduce(0) { $0 + Int($1) })
      / (Double(firstEpoch.packs) * Double(capacity))
  }

  /// The packs of one epoch in order; every sample is in exactly one.
  private static func packs(ofEpoch epoch: Int, _ lengths: [Int32], _ settings: Settings)
    -> PackList
  {
    var order = lengths.indices.map { Int32($0) }
    var generator = SeededGenerator(seed: settings.seed, stream: UInt64(epoch))
    if settings.shuffle { generator.shuffle(&order) }
    switch settings.filling {
    case .samplesPerPack(let count):
      let ends = stride(from: 0, to: order.count, by: count).map {
        Int32(min($0 + count, order.count))
      }
      return PackList(samples: order, ends: ends)
    case .packTokens(let capacity):
      var packs = PackList()
      for start in stride(from: 0, to: order.count, by: windowSampleCount) {
        let window = order[start..<min(start + windowSampleCount, order.count)].map { Int($0) }
        let formed = BestFit.packs(window[...], lengths: lengths, capacity: capacity)
        for pack in settings.shuffle ? formed : formed.sorted(by: { $0[0] < $1[0] }) {
          packs.append(pack)
        }
      }
      // Best fit puts long samples into early packs; a step must not see only such.
      if settings.shuffle { packs.shuffle(&generator) }
      return packs
    }
  }
}

extension PackPlan.Filling {
  fileprivate var isSamplesPerPack: Bool {
    if case .samplesPerPack = self { true } else { false }
  }
}
