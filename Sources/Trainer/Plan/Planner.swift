internal import Compute
internal import DistributedTraining
internal import Model
internal import Support

/// Finds out what a run takes, and what it would take with other settings.
struct Planner {
  let configuration: ModelConfiguration
  /// How each tensor is stored, from files or from a rule.
  let stored: SlabLayout.FormatRule
  let adapters: AdapterLayout
  let backend: any Backend
  /// Bytes of one host that the run may take.
  let memoryByteCount: Int
  /// What the process takes by itself.
  var runtimeByteCount: Int
  /// Samples and tokenizer.
  var dataByteCount = 0
  /// Tokens of the longest text that is ever computed.
  var positionCount: Int
  /// Forward passes besides those of training: packs of the evaluation.
  var evaluation: [PackShape] = []
  /// Whether checkpoints are written, and not the adapter alone.
  var savesCheckpoints = true
  /// Whether ranks use MPI even where each has a device of its own.
  var usesMPI = false
  /// Texts that are continued side by side.
  var generation: (tokens: Int, texts: Int)?

  /// Makes a plan.
  ///
  /// - Parameters:
  ///   - settings: of the run.
  ///   - agree: whether all ranks think so.
  /// - Returns: the plan; with `auto` the base is divided among ranks only where the run does not
  ///   fit otherwise, and no more layers are computed again than must be.
  /// - Throws: when a tensor has no type, or the ranks cannot be asked.
  func plan(_ settings: PlanSettings, agree: (Bool) throws -> Bool = { $0 }) throws -> RunPlan {
    let placements = placements(settings)
    for placement in placements.dropLast() {
      let plan = try plan(settings, placement, agree: agree)
      if try agree(plan.fits(memoryByteCount)) { return plan }
    }
    return try plan(settings, placements[placements.count - 1], agree: agree)
  }

  /// Where the base may lie, the best first.
  private func placements(_ settings: PlanSettings) -> [PlannedPlacement] {
    let (world, host) = (settings.worldSize, settings.ranksPerHost)
    guard world > 1 else { return [.own] }
    let whole: PlannedPlacement = host > 1 && backend.hasHostMemory ? .shared : .own
    let groups: [Int] =
      switch settings.shardGroup {
      case .host: [host]
      case .world: [world]
      // Slices of a host's own copy keep gathers off the network.
      case .auto: host < world ? [host, world] : [world]
      }
    switch settings.shard {
    case .none: return [whole]
    case .full: return groups.map { .sliced(ranks: $0) }
    // On one host slices take no less than the copy that its ranks share.
    case .auto: return [whole, .sliced(ranks: groups[groups.count - 1])]
    }
  }

  private func plan(
    _ settings: PlanSettings, _ placement: PlannedPlacement, agree: (Bool) throws -> Bool
  ) throws -> RunPlan {
    switch settings.checkpointing {
    case .on: return try plan(settings, placement, .inputs)
    case .off: return try plan(settings, placement, .activations)
    case .auto:
      let all = try plan(settings, placement, .activations)
      if try agree(all.fits(memoryByteCount)) { return all }
      // As many layers as fit keep their activations: more of them never take less.
      var best = try plan(settings, placement, .inputs)
      guard try agree(best.fits(memoryByteCount)) else { return best }
      var (fitting, tooMany) = (0, configuration.layerCount)
      while tooMany - fitting > 1 {
        let middle = (fitting + tooMany) / 2
        let some = try plan(settings, placement, .lastLayers(middle))
        if try agree(some.fits(memoryByteCount)) {
          (fitting, best) = (middle, some)
        } else {
          tooMany = middle
        }
      }
      return best
    }
  }

  private func plan(
    _ settings: PlanSettings, _ placement: PlannedPlacement, _ retention: CausalLM.Retention
  ) throws -> RunPlan {
    let layouts = try SlabLayout.slabs(configuration, settings.quantization, stored: stored)
    let byteCounts = layouts.map(\.byteCount)
    let world = settings.worldSize
    var bytes: [RunPlan.Part: Int] = [:]
    // What MPI sends lies on the host; ranks that share a device cannot use anything else.
    let isOnHost = !backend.hasHostMemory && (usesMPI || settings.ranksPerMemory > 1)
    let isElsewhere = if case .sliced = placement { isOnHost } else { false }
    for layout in layouts where !isElsewhere {
      for (part, count) in Self.base(layout, placement) { bytes[part, default: 0] += count }
    }
    if case .sliced(let ranks) = placement {
      bytes[.gatherBuffers] = 2 * SlabSlices.bufferByteCount(byteCounts, worldSize: ranks)
    }
    let slices = WeightSlices(parts: adapters.parts, worldSize: world)
    let slice = slices.count(ofRank: 0)
    let buffers = GradientExchange.bufferCounts(
      rank: 0, worldSize: world, maximumPackCount: settings.packsPerStep)
    bytes[.adapters] = 4 * adapters.elementCount
    bytes[.gradients] =
      4 * buffers.vectors * adapters.elementCount + 4 * buffers.slices * slice
    bytes[.moments] = 8 * slice

    let meter = Assembly.meter(backend)
    let passes = try ActivationPlan(
      configuration, layouts: layouts, adapters: adapters,
      activationType: backend.activationType, meter: meter)
    func pass(_ shape: PackShape, _ retention: CausalLM.Retention) throws -> Int {
      try passes.byteCount(
        tokenCount: shape.tokens, targetCount: shape.targets, retention: retention,
        hasDropout: retention != .nothing && adapters.settings.dropout > 0,
        longestSample: shape.longest)
    }
    meter?.sumsOfSquares(count: slice, blockSize: slices.blockSize)
    var activations = try pass(settings.pack, retention)
    if !evaluation.isEmpty {
      // Memory grows with each of the numbers, so their maxima bound every pack.
      activations = max(
        activations,
        try pass(
          PackShape(
            tokens: evaluation.map(\.tokens).max() ?? 1,
            targets: evaluation.map(\.targets).max() ?? 1,
            longest: evaluation.map(\.longest).max() ?? 1), .nothing))
    }
    if let generation {
      activations = max(
        activations,
        try passes.generationByteCount(tokenCount: generation.tokens, textCount: generation.texts))
    }
    bytes[.activations] = activations
    bytes[.workspaces] =
      (meter?.byteCount ?? 0) + 4 * positionCount * configuration.headWidth
    bytes[.reading] = BaseLoader.stagingByteCount(
      layouts, hasHostMemory: backend.hasHostMemory)
    // The rest lies in the host's memory, also where a device has its own.
    if backend.hasHostMemory {
      bytes[.runtime] = runtimeByteCount + (meter == nil ? 0 : RuntimeMemory.libraryByteCount)
      bytes[.data] = dataByteCount
      bytes[.saving] = RuntimeMemory.savingFactor(savesCheckpoints) * adapters.elementCount
    }

    var sliced: (byteCounts: [Int], ranks: Int)?
    if case .sliced(let ranks) = placement {
      sliced = (
        byteCounts.map { ranks * SlabSlices.byteCount(slabByteCount: $0, worldSize: ranks) }, ranks
      )
    }
    return RunPlan(
      settings: settings, placement: placement, retention: retention,
      layerCount: configuration.layerCount, byteCounts: bytes,
      traffic: StepTraffic(
        slices: slices, packsPerStep: settings.packsPerStep, slabs: sliced,
        tiesEmbeddings: configuration.tiesEmbeddings), workspaces: meter)
  }

  /// What of a slab lies with the first rank, which has the largest slices.
  private static func base(_ layout: SlabLayout, _ placement: PlannedPlacement)
    -> [RunPlan.Part: Int]
  {
    var range = 0..<layout.byteCount
    if case .sliced(let ranks) = placement {
      range = SlabSlices.range(ofRank: 0, slabByteCount: layout.byteCount, worldSize: ranks)
    }
    var bytes: [RunPlan.Part: Int] = [.dense: range.count]
    for item in layout.items {
      guard case .nf4 = item.format else { continue }
      for (index, place) in item.partRanges.enumerated() where place.overlaps(range) {
        let count = place.clamped(to: range).count
        bytes[index == 0 ? .codes : .scales, default: 0] += count
        bytes[.dense, default: 0] -= count
      }
    }
    return bytes
  }
}

/// Memory of the process that no shape tells; measured on x86-64 Linux with glibc.
enum RuntimeMemory {
  /// The program, its libraries and its heap before a model is there.
  static let processByteCount = 2_000_000
  /// Open MPI's heap, and what is touched of the queues that the ranks of a host share.
  static let messagePassingByteCount = 3_000_000
  /// What oneDNN, the names of tensors and the heap come to hold while a model runs.
  static let libraryByteCount = 6_000_000
  /// Bytes per adapter weight while rank 0 writes: for a checkpoint three vectors and the files
  /// that are made of them, for the adapter alone one.
  static func savingFactor(_ isCheckpoint: Bool) -> Int { isCheckpoint ? 36 : 12 }

  /// For a plan without a process of its own.
  static func expected(worldSize: Int) -> Int {
    processByteCount + (worldSize > 1 ? messagePassingByteCount : 0)
  }
}
