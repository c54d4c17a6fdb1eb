internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Support

/// The plan of a run that is about to start: the same object that `plan` prints, with the packs
/// there are and the memory that this process takes already.
struct MemoryCheck {
  let configuration: TrainConfiguration
  let opening: ModelOpening
  let source: AdapterSource
  let packs: PackPlan
  let training: SampleSet
  let evaluation: LossEvaluation?
  let questions: MatchEvaluation?
  let positionCount: Int
  /// What this process held before it read the data.
  let heldBefore: Int
  /// What one more set of collectives takes of the device, for a base in slices.
  let collectivesByteCount: Int

  private var group: any ProcessGroup { opening.group }

  /// Plans, tells the user, and refuses a run that does not fit.
  ///
  /// - Returns: the plan, the same on every rank, why the base lies where it does, and what makes the
  ///   plan's table, for a device whose memory does not suffice after all.
  /// - Throws: ``UserError`` with the plan and the nearest settings that fit.
  func run() throws -> (plan: RunPlan, reason: String, makeTable: () throws -> PlanTable) {
    PeakMemory.trim()
    // The values of an adapter's file are planned as what they become.
    let held = max(heldBefore, PeakMemory.heldByteCount() - source.heldByteCount)
    let runtime = max(0, heldBefore)
    let backend = opening.backend
    let free =
      try backend.freeByteCount().map { $0 - collectivesByteCount }
      ?? HostMemory.availableByteCount() + held * group.localWorldSize
    let sharers = try MemorySharers(backend, group: group)
    if let note = sharers.note { opening.reporter.note(note) }
    // The fullest rank and the smallest host decide for all.
    let numbers = try group.allGather([
      Double(runtime), Double(max(0, held - runtime)),
      Double(group.localWorldSize), Double(free),
    ])
    func largest(_ index: Int) -> Int { Int(numbers.map { $0[index] }.max() ?? 0) }
    var planner = Planner(
      configuration: opening.description.configuration,
      stored: opening.description.loader.source.formats, adapters: source.layout,
      backend: opening.backend,
      memoryByteCount: Int(numbers.map { $0[3] }.min() ?? 0), runtimeByteCount: largest(0),
      dataByteCount: largest(1), positionCount: positionCount)
    planner.evaluation = evaluation?.shapes ?? []
    planner.savesCheckpoints = configuration.saveSteps > 0
    planner.generation = questions?.largestBatch
    // Where ranks share a device, that may be the reason.
    if case .mpi = opening.transport { planner.usesMPI = sharers.ranks.count == 1 }
    let options = opening.options
    let settings = PlanSettings(
      quantization: options.quantizationSettings,
      checkpointing: configuration.gradientCheckpointing, pack: largestPack,
      packsPerStep: min(configuration.packsPerStep, training.dataset.samples.count),
      shard: options.shard,
      shardGroup: options.shardGroup, worldSize: group.worldSize, ranksPerHost: largest(2),
      ranksPerMemory: backend.hasHostMemory ? largest(2) : sharers.ranks.count)
    let plan = try planner.plan(settings) { try group.allAgree($0) }
    let title = PlannedModel.title(opening.directory, planner.configuration, options)
    let makeTable = { [planner] in try PlanTable(planner, plan, title: title) }
    guard try group.allAgree(plan.fits(planner.memoryByteCount)) else {
      // One rank tells it; the others wait to be ended with it.
      if group.rank != 0 { try group.barrier() }
      let table = try makeTable()
      throw UserError(
        .usage,
        "the run does not fit: it needs \(ByteText.short(plan.hostByteCount)) of a \(backend.hasHostMemory ? "host" : "GPU")'s free "
          + "\(ByteText.short(planner.memoryByteCount))\(sharers.remark)\n\n\(table.text)",
        fix: table.fix
          ?? "use a smaller model, or \(backend.hasHostMemory ? "hosts" : "GPUs") with more memory")
    }
    opening.reporter.note(plan.summary)
    return (plan, reason(plan, options, memoryByteCount: planner.memoryByteCount), makeTable)
  }

  /// Why the base lies where it does, for the user.
  private func reason(_ plan: RunPlan, _ options: ModelOptions, memoryByteCount: Int) -> String {
    let size = ByteText.short(opening.description.byteCount)
    let room = ByteText.short(memoryByteCount)
    let owner = opening.backend.hasHostMemory ? "host" : "GPU"
    let why =
      switch (options.shard, plan.placement) {
      case (.auto, .sliced):
        "with a whole copy of the base, \(size), the run does not fit into a \(owner)'s free \(room)"
      case (.auto, _):
        "with a copy of the base, \(size), the run fits into each \(owner)'s free \(room)"
      default: "as asked for; the base is \(size)"
      }
    switch plan.placement {
    case .own: return "shard none: \(why)"
    case .shared: return "shard none: \(why); its ranks share it"
    case .sliced(let ranks): return "shard full over \(ranks) ranks: \(why)"
    }
  }

  /// The largest numbers of any pack of the run; where there are many packs, of what the settings
  /// allow.
  private var largestPack: PackShape {
    let samples = training.dataset.samples
    let longest = training.dataset.summary.longest
    let packCount = min(configuration.packsPerStep, samples.count)
    if packs.totalSteps <= 20_000 / packCount {
      var packs = packs
      var largest = PackShape(tokens: 1, targets: 1, longest: longest)
      for step in 1...max(1, packs.totalSteps) {
        for pack in packs.packs(ofStep: step) {
          largest.tokens = max(largest.tokens, pack.reduce(0) { $0 + samples.tokenCount($1) })
          largest.targets = max(largest.targets, pack.reduce(0) { $0 + samples.targetTokens($1) })
        }
      }
      return largest
    }
    switch configuration.packing {
    case .tokens(let count):
      // No pack has more than all samples together.
      let summary = training.dataset.summary
      return PackShape(
        tokens: min(max(count, longest), summary.tokens),
        targets: min(count, summary.targetTokens), longest: longest)
    case .samples(let count):
      // The longest samples together.
      let tokens = samples.lengths.sorted().suffix(count).reduce(0, +)
      let targets = samples.indices.map { samples.targetTokens($0) }.sorted().suffix(count).reduce(
        0, +)
      return PackShape(tokens: tokens, targets: targets, longest: longest)
    }
  }
}
