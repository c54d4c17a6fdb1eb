internal import Compute
internal import Model

/// A plan in words: what a rank holds, what moves, what fits and what would.
struct PlanTable {
  let planner: Planner
  let plan: RunPlan
  /// The model and its storage, for the heading.
  let title: String
  private let variants: [PlanVariant]

  init(_ planner: Planner, _ plan: RunPlan, title: String) throws {
    self.planner = planner
    self.plan = plan
    self.title = title
    variants = try PlanVariant.all(planner, plan)
  }

  /// Whether the settings as given fit.
  var fits: Bool { plan.fits(planner.memoryByteCount) }

  /// The change that makes it fit, as flags; nil where nothing that was tried does.
  var fix: String? {
    variants.first { $0.plan.fits(planner.memoryByteCount) }.map(\.flags)
  }

  /// Memory, movement and variants.
  var text: String { heading + memory + movement + comparison }

  private var heading: String {
    let settings = plan.settings
    let ranks =
      settings.worldSize == 1
      ? "1 rank"
      : "\(settings.worldSize) ranks, \(settings.ranksPerHost) on a host"
        + (hasHostMemory ? "" : ", \(settings.ranksPerMemory) on a GPU")
    return """
      \(title)
      \(ranks); \(settings.packsPerStep) packs a step of up to \(settings.pack.tokens) tokens
      \(Self.describe(plan.placement)); \
      \(plan.recomputedLayerCount > 0 ? plan.recomputation : "activations are kept")


      """
  }

  private var hasHostMemory: Bool { planner.backend.hasHostMemory }
  private var owner: String { hasHostMemory ? "host" : "GPU" }

  private static func describe(_ placement: PlannedPlacement) -> String {
    switch placement {
    case .own: "every rank holds the base"
    case .shared: "the ranks of a host share one copy of the base"
    case .sliced(let ranks): "the base lies in slices over \(ranks) ranks"
    }
  }

  private var memory: String {
    var text = Self.line("memory", plan.settings.worldSize == 1 ? "" : "per rank")
    for part in RunPlan.Part.allCases where plan(part) > 0 && !part.isTransient {
      let note = part.isBase && plan.placement == .shared ? "  shared on the host" : ""
      text += Self.line("  " + part.rawValue, ByteText.short(plan(part)), note)
    }
    for part in RunPlan.Part.allCases where plan(part) > 0 && part.isTransient {
      text += Self.line(
        "  " + part.rawValue, ByteText.short(plan(part)),
        part == .reading
          ? "  before the first step, when activations are not there"
          : "  between steps, in place of activations; the first rank")
    }
    text += Self.line("  most at one time", ByteText.short(plan.rankByteCount))
    text += Self.line(
      plan.settings.ranksPerMemory == 1 ? "needed" : "needed per \(owner)",
      ByteText.short(plan.hostByteCount),
      "  of \(ByteText.short(planner.memoryByteCount)): \(Self.verdict(plan, planner))")
    return text + "\n"
  }

  private var movement: String {
    let traffic = plan.traffic
    guard traffic.total > 0 else { return "moved per step: nothing, with one rank\n\n" }
    let world = plan.settings.worldSize
    var text = Self.line("moved per step", "per rank", Self.padded("all ranks"))
    for (label, count) in [
      ("gradients, all to all", traffic.gradients), ("new adapter weights", traffic.weights),
      ("losses and norms", traffic.scalars), ("base, layer by layer", traffic.base),
      ("total", traffic.total),
    ] where count > 0 {
      text += Self.line(
        "  " + label, ByteText.short(count / world), Self.padded(ByteText.short(count)))
    }
    return text + "\n"
  }

  private var comparison: String {
    var text = Self.line("other settings", "per \(owner)")
    for variant in variants {
      text += Self.line(
        "  " + variant.flags, ByteText.short(variant.plan.hostByteCount),
        "  \(Self.verdict(variant.plan, planner))")
    }
    return variants.isEmpty ? "" : text
  }

  private static func verdict(_ plan: RunPlan, _ planner: Planner) -> String {
    plan.fits(planner.memoryByteCount) ? "fits" : "does not fit"
  }

  private static func padded(_ text: String) -> String {
    String(repeating: " ", count: max(1, 12 - text.count)) + text
  }

  private static func line(_ label: String, _ value: String, _ note: String = "") -> String {
    let room = 58 - label.count - value.count
    let gap =
      room > 0
      ? String(repeating: " ", count: room)
      : "\n" + String(repeating: " ", count: max(0, 58 - value.count))
    return (value.isEmpty ? label : label + gap + value + note) + "\n"
  }
}

/// A plan with some settings changed.
struct PlanVariant {
  /// The change as a user would write it.
  let flags: String
  let plan: RunPlan

  /// One change after the other, each alone; then those that help, together, until the run fits.
  static func all(_ planner: Planner, _ plan: RunPlan) throws -> [PlanVariant] {
    let given = plan.settings
    var changes: [(flags: String, change: (inout PlanSettings) -> Void)] = []
    if plan.recomputedLayerCount < plan.layerCount {
      changes.append(("--gradient-checkpointing on", { $0.checkpointing = .on }))
    }
    let smaller = max(given.pack.longest, given.pack.tokens / 2)
    if smaller < given.pack.tokens {
      changes.append(
        (
          "--pack-tokens \(smaller)",
          {
            $0.pack.targets = min($0.pack.targets, smaller)
            $0.pack.tokens = smaller
          }
        ))
    } else if given.pack.longest >= 512 {
      let length = given.pack.longest / 2
      changes.append(
        (
          "--max-length \(length) --pack-tokens \(length)",
          { $0.pack = PackShape(tokens: length, targets: length, longest: length) }
        ))
    }
    if !given.quantization.isNF4 {
      changes.append(("--quant nf4", { $0.quantization = QuantizationSettings(isNF4: true) }))
    }
    if given.ranksPerMemory > 1 {
      let (share, fewer) = (given.ranksPerMemory, given.ranksPerMemory / 2)
      let owner = planner.backend.hasHostMemory ? "host" : "GPU"
      changes.append(
        (
          "\(fewer) \(fewer == 1 ? "rank" : "ranks") on each \(owner)",
          {
            $0.worldSize = max(1, $0.worldSize / share) * fewer
            $0.ranksPerHost = max(1, $0.ranksPerHost / share) * fewer
            $0.ranksPerMemory = fewer
          }
        ))
    }
    if given.worldSize > 1, plan.placement == .own || plan.placement == .shared {
      changes.append(("--shard full", { $0.shard = .full }))
    }
    var variants = try changes.map { flags, change in
      var settings = given
      change(&settings)
      return PlanVariant(flags: flags, plan: try planner.plan(settings))
    }
    guard !plan.fits(planner.memoryByteCount),
      !variants.contains(where: { $0.plan.fits(planner.memoryByteCount) })
    else { return variants }

    // None suffices by itself: those that take less, together.
    var settings = given
    var flags: [String] = []
    for (index, variant) in variants.enumerated()
    where variant.plan.hostByteCount < plan.hostByteCount {
      changes[index].change(&settings)
      flags.append(changes[index].flags)
    }
    var together = PlanVariant(
      flags: flags.joined(separator: ", "), plan: try planner.plan(settings))
    if flags.count > 1 { variants.append(together) }
    // More hosts with as many ranks each, each with a smaller slice.
    var hosts = max(1, settings.worldSize / settings.ranksPerHost)
    while !together.plan.fits(planner.memoryByteCount), hosts < 64 {
      hosts *= 2
      settings.shard = .full
      settings.shardGroup = .world
      settings.worldSize = hosts * settings.ranksPerHost
      let shard = given.shard == .full || flags.contains("--shard full") ? [] : ["--shard full"]
      together = PlanVariant(
        flags: (flags + shard + ["\(hosts) such hosts"]).joined(separator: ", "),
        plan: try planner.plan(settings))
      if together.plan.fits(planner.memoryByteCount) { variants.append(together) }
    }
    return variants
  }
}
