internal import Data
internal import DistributedTraining
internal import Model

/// The loss over a fixed list of packs, on any number of ranks.
struct LossEvaluation {
  /// Samples of each pack, which is read when its turn comes.
  private let packs: [[Int]]
  private let samples: SampleList
  private let group: any ProcessGroup

  /// Packs of consecutive samples, formed without regard to ranks.
  ///
  /// - Parameters:
  ///   - samples: of the held-out data.
  ///   - packTokens: the most tokens of a pack; a longer sample is one by itself.
  ///   - group: the ranks.
  init(samples: SampleList, packTokens: Int, group: any ProcessGroup) {
    self.samples = samples
    self.group = group
    var packs: [[Int]] = []
    var pending: [Int] = []
    var count = 0
    for index in samples.indices {
      let length = samples.tokenCount(index)
      if !pending.isEmpty && count + length > packTokens {
        packs.append(pending)
        (pending, count) = ([], 0)
      }
      pending.append(index)
      count += length
    }
    if !pending.isEmpty { packs.append(pending) }
    self.packs = packs
  }

  /// Tokens and targets of each pack, for the memory plan.
  var shapes: [PackShape] {
    packs.map { pack in
      PackShape(
        tokens: pack.reduce(0) { $0 + samples.tokenCount($1) }, targets: targets(of: pack),
        longest: pack.map { samples.tokenCount($0) }.max() ?? 1)
    }
  }

  private func targets(of pack: [Int]) -> Int { pack.reduce(0) { $0 + samples.targetTokens($1) } }

  /// Nats per target token; the same on every rank and for any number of ranks.
  ///
  /// - Parameters:
  ///   - model: base or base with adapter.
  ///   - progress: called with packs done and in all on this rank.
  /// - Returns: the loss.
  /// - Throws: when a device or rank fails.
  func run(_ model: CausalLM, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws
    -> Double
  {
    let runs = (0..<group.worldSize).map {
      PackRuns.run(ofRank: $0, packCount: packs.count, worldSize: group.worldSize)
    }
    var sums: [Double] = []
    for turn in 0..<(runs.map(\.count).max() ?? 0) {
      guard turn < runs[group.rank].count else {
        try model.skipPass(isTraining: false)
        continue
      }
      let pack = PackInput(try Pack(packs[runs[group.rank].lowerBound + turn], of: samples))
      let pass = try model.forward(pack, retention: .nothing)
      sums.append(try model.loss(pass, gradientScale: nil).lossSum)
      progress(sums.count, runs[group.rank].count)
    }
    let all = try group.allGather(sums, counts: runs.map(\.count))
    return all.reduce(0, +) / Double(max(1, packs.reduce(0) { $0 + targets(of: $1) }))
  }
}
