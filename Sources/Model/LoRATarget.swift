/// The matrices an adapter can be put on.
package enum LoRATarget: String, Sendable, CaseIterable {
  case query = "q"
  case key = "k"
  case value = "v"
  case output = "o"
  /// The gate projection of SwiGLU.
  case w1
  /// The up projection.
  case w3
  /// The down projection.
  case w2
  /// The router of a mixture of experts.
  case router = "gate"
  case head = "lm_head"

  /// The target a user's word stands for: short names and those of Hugging Face modules.
  package init?(name: String) {
    switch name {
    case "q", "q_proj": self = .query
    case "k", "k_proj": self = .key
    case "v", "v_proj": self = .value
    case "o", "o_proj": self = .output
    case "w1", "gate_proj": self = .w1
    case "w3", "up_proj": self = .w3
    case "w2", "down_proj": self = .w2
    case "gate", "router": self = .router
    case "lm_head": self = .head
    default: return nil
    }
  }

  /// The last component of the module's name in the model's files, as PEFT's `target_modules` wants it.
  package func moduleName(_ family: ModelConfiguration.Architecture) -> String {
    switch self {
    case .query: "q_proj"
    case .key: "k_proj"
    case .value: "v_proj"
    case .output: "o_proj"
    case .w1: family == .mixtral ? "w1" : "gate_proj"
    case .w3: family == .mixtral ? "w3" : "up_proj"
    case .w2: family == .mixtral ? "w2" : "down_proj"
    case .router: "gate"
    case .head: "lm_head"
    }
  }
}

/// How adapters are made.
package struct LoRASettings: Sendable, Equatable {
  package var loraRank: Int
  package var alpha: Double
  /// Share of an input's channels that are dropped in training.
  package var dropout: Float
  /// `alpha / sqrt(rank)` instead of `alpha / rank`.
  package var isRankStabilized: Bool
  package var targets: Set<LoRATarget>

  package init(
    loraRank: Int, alpha: Double, dropout: Float = 0, isRankStabilized: Bool = false,
    targets: Set<LoRATarget>
  ) {
    self.loraRank = loraRank
    self.alpha = alpha
    self.dropout = dropout
    self.isRankStabilized = isRankStabilized
    self.targets = targets
  }

  package var scaling: Float {
    Float(isRankStabilized ? alpha / Double(loraRank).squareRoot() : alpha / Double(loraRank))
  }
}
