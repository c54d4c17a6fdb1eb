package import Data
package import Model

/// Every setting of `train`, checked.
package struct TrainConfiguration: Sendable, Equatable {
  /// Which tokens are targets.
  package enum TrainOn: String, Sendable, CaseIterable { case completion, assistant, last, all }
  package enum Scheduler: String, Sendable, CaseIterable { case constant, linear, cosine }
  package enum GradientCheckpointing: String, Sendable, CaseIterable { case auto, on, off }

  /// How samples become packs.
  package enum Packing: Sendable, Equatable {
    /// Best-fit up to this many tokens.
    case tokens(Int)
    /// This many consecutive samples.
    case samples(Int)
  }

  package var base: ModelOptions
  package var samples: SampleOptions
  package var evaluationData: String?
  /// Rows of the data that are kept for the evaluation loss, as the user wrote it; nil: none.
  package var holdOut: String?
  package var heldOutRows: HoldOut?
  /// Where the run goes; nil: a free directory under `runs`, see ``OutputDirectory``.
  package var output: String?
  package var resumes: Bool

  package var trainOn: TrainOn
  package var packing: Packing
  /// Packs of an optimizer step over all ranks.
  package var packsPerStep: Int
  package var shuffles: Bool
  package var seed: Int

  /// nil: as many as `maxSteps` needs.
  package var epochs: Int?
  /// nil: as many as the epochs have; with both, the end that comes first.
  package var maxSteps: Int?
  package var learningRate: Double
  package var scheduler: Scheduler
  package var warmupSteps: Int
  package var weightDecay: Double
  package var adamBeta1: Double
  package var adamBeta2: Double
  package var adamEpsilon: Double
  /// 0: no clipping.
  package var maxGradientNorm: Double
  /// nil: from the model's config.json.
  package var routerLossCoefficient: Double?

  package var loraRank: Int
  package var loraAlpha: Double
  package var loraDropout: Double
  /// Each once, in a fixed order.
  package var loraTargets: [LoRATarget]
  /// Scaling `alpha / sqrt(r)` in place of `alpha / r`.
  package var usesRankStabilizedScaling: Bool
  /// Which of the flags about adapters the user gave; the others yield to `initialAdapter`.
  package var givenLoRAFlags: Set<String>
  /// An adapter directory to start from; nil: fresh.
  package var initialAdapter: String?

  package var gradientCheckpointing: GradientCheckpointing
  /// 0: at the end only.
  package var evaluationSteps: Int
  /// 0: at the end only.
  package var saveSteps: Int
  package var loggingSteps: Int
  /// 0: all.
  package var keepCheckpoints: Int

  /// The scale of the adapter's output.
  package var loraScaling: Double {
    loraAlpha / (usesRankStabilizedScaling ? Double(loraRank).squareRoot() : Double(loraRank))
  }
}
