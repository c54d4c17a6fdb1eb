internal import Compute
internal import Data
internal import Model

/// What a rank's memory goes to, known before the first step.
struct MemoryPlan {
  var baseByteCount: Int
  /// Weights and moments of the adapters.
  var adapterByteCount: Int
  /// Buffers in which gradients are added and exchanged.
  var exchangeByteCount: Int
  var activationByteCount: Int
  let retention: CausalLM.Retention

  var totalByteCount: Int {
    baseByteCount + adapterByteCount + exchangeByteCount + activationByteCount
  }

  /// One line for the user.
  var summary: String {
    let parts = [
      "base \(ByteText.short(baseByteCount))", "adapter \(ByteText.short(adapterByteCount))",
      "gradients \(ByteText.short(exchangeByteCount))",
      "activations \(ByteText.short(activationByteCount))",
    ]
    return "memory per rank: \(ByteText.short(totalByteCount)) ("
      + parts.joined(separator: ", ")
      + (retention == .inputs ? ", layers recomputed in the backward pass)" : ")")
  }

  /// The largest arena that any of these packs needs.
  ///
  /// - Parameters:
  ///   - plan: over the model that will run.
  ///   - shapes: tokens and target tokens of each pack.
  ///   - retention: what forward passes keep.
  ///   - hasDropout: whether inputs of adapters are dropped.
  static func activationByteCount(
    _ plan: ActivationPlan, shapes: [(tokens: Int, targets: Int)], retention: CausalLM.Retention,
    hasDropout: Bool
  ) throws -> Int {
    // Memory grows with both counts, so their maxima bound every pack.
    try plan.byteCount(
      tokenCount: shapes.map(\.tokens).max() ?? 1, targetCount: shapes.map(\.targets).max() ?? 1,
      retention: retention, hasDropout: hasDropout)
  }
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
