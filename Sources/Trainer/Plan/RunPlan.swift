internal import Compute
internal import DistributedTraining
internal import Model

/// What a run takes of the memory of the rank that takes most, and what it moves between ranks:
/// known before anything is loaded.
struct RunPlan {
  /// One thing that memory goes to.
  enum Part: String, CaseIterable {
    case codes = "base: 4-bit codes"
    case scales = "base: scales"
    case dense = "base: dense weights"
    case gatherBuffers = "gather buffers"
    case adapters = "adapters"
    case gradients = "gradients"
    case moments = "Adam moments"
    case activations = "activations"
    case workspaces = "workspaces"
    case data = "data and tokenizer"
    case runtime = "runtime"
    case reading = "reading the base"
    case saving = "writing a checkpoint"

    /// Whether memory is taken before the first step, or between steps, when activations take none.
    var isTransient: Bool { self == .reading || self == .saving }
    var isBase: Bool { self == .codes || self == .scales || self == .dense }
  }

  let settings: PlanSettings
  let placement: PlannedPlacement
  let retention: CausalLM.Retention
  let layerCount: Int
  let byteCounts: [Part: Int]
  let traffic: StepTraffic
  /// What the device takes besides tensors; nil for one that takes nothing.
  let workspaces: (any WorkspaceMeter)?

  func callAsFunction(_ part: Part) -> Int { byteCounts[part] ?? 0 }

  /// The base as this rank sees it: all of it where ranks of a host share it.
  var baseByteCount: Int { Part.allCases.filter(\.isBase).reduce(0) { $0 + self($1) } }

  /// What rank 0 comes to hold at one time, pages it shares with others included.
  var rankByteCount: Int { rankByteCount(saves: true) }

  private func rankByteCount(saves: Bool) -> Int {
    let kept = Part.allCases.filter { !$0.isTransient && $0 != .activations && $0 != .workspaces }
      .reduce(0) { $0 + self($1) }
    let loading = baseByteCount + self(.runtime) + self(.data) + self(.reading)
    let atOnce = max(self(.activations), saves ? self(.saving) : 0)
    return max(loading, kept + self(.workspaces) + atOnce)
  }

  /// What the ranks of one host, or of one GPU, take together.
  var hostByteCount: Int {
    let shared = placement == .shared ? baseByteCount : 0
    // Checkpoints are written by one rank.
    return rankByteCount + (settings.ranksPerMemory - 1) * (rankByteCount(saves: false) - shared)
  }

  /// Whether it fits a host, or a GPU. A twentieth stays free for what no plan knows.
  func fits(_ memoryByteCount: Int) -> Bool {
    Double(hostByteCount) <= 0.95 * Double(memoryByteCount)
  }

  /// One line for the log of a run.
  var summary: String {
    let adapters = self(.adapters) + self(.moments)
    let parts = [
      "base \(ByteText.short(baseByteCount))"
        + (placement == .shared ? " shared by \(settings.ranksPerHost)" : ""),
      self(.gatherBuffers) > 0 ? "gather buffers \(ByteText.short(self(.gatherBuffers)))" : nil,
      "adapter \(ByteText.short(adapters))", "gradients \(ByteText.short(self(.gradients)))",
      "activations \(ByteText.short(self(.activations)))",
      "workspaces \(ByteText.short(self(.workspaces)))",
      self(.data) > 0 ? "data \(ByteText.short(self(.data)))" : nil,
      "runtime \(ByteText.short(self(.runtime)))",
    ].compactMap { $0 }
    return "memory per rank: \(ByteText.short(rankByteCount)) ("
      + parts.joined(separator: ", ")
      + (recomputedLayerCount > 0 ? "; \(recomputation))" : ")")
  }

  /// Layers whose activations are not kept.
  var recomputedLayerCount: Int {
    guard case .lastLayers(let kept) = retention else { return 0 }
    return layerCount - min(kept, layerCount)
  }

  /// Which layers are computed a second time.
  var recomputation: String {
    let share =
      recomputedLayerCount == layerCount ? "" : "\(recomputedLayerCount) of \(layerCount) "
    return "\(share)layers are computed again in the backward pass"
  }
}

/// Where a base lies, without the ranks themselves.
enum PlannedPlacement: Equatable {
  /// Each rank has its own.
  case own
  /// One copy for the ranks of a host.
  case shared
  /// Slices over so many ranks.
  case sliced(ranks: Int)
}

/// The most tokens of a pack.
struct PackShape: Equatable {
  var tokens: Int
  /// Of these, tokens with a loss.
  var targets: Int
  /// Tokens of the longest sample.
  var longest: Int
}

/// What a plan depends on and a user can change.
struct PlanSettings: Equatable {
  var quantization: QuantizationSettings
  var checkpointing: TrainConfiguration.GradientCheckpointing
  var pack: PackShape
  var packsPerStep: Int
  var shard: ModelOptions.Shard
  var shardGroup: ModelOptions.ShardGroup
  var worldSize: Int
  var ranksPerHost: Int
  /// Those that take their memory from one place: of a host, or of a GPU.
  var ranksPerMemory: Int
}

/// Bytes for people.
enum ByteText {
  /// `812 B`, `3.4 MB`, `26.1 GB`.
  static func short(_ byteCount: Int) -> String {
    var value = Double(byteCount)
    for unit in ["B", "kB", "MB", "GB"] {
      if value < 1000 {
        return "\(unit == "B" ? "\(byteCount)" : NumberText.fixed(value, digits: 1)) \(unit)"
      }
      value /= 1000
    }
    return "\(NumberText.fixed(value, digits: 1)) TB"
  }
}
