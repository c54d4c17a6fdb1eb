internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Optim
internal import Support

/// A short training that is run in two ways to compare the results.
struct Trial {
  var model: TrialModel
  var steps = 3
  var packsPerStep: Int
  var samplesPerPack = 2
  var shuffles = true
  var seed: UInt64
  var lora = LoRASettings(loraRank: 4, alpha: 8, dropout: 0.1, targets: Set(LoRATarget.allCases))
  var learningRate = 5e-3
  var weightDecay = 0.1
  var retention = CausalLM.Retention.activations
  /// Nil: as many as the settings say.
  var threads: Int?
  /// Epochs are of two whole steps and one of a single pack.
  var sampleCount: Int

  /// A trial whose packs do not divide by the ranks.
  init(_ model: TrialModel, _ stage: SelfTestStage) {
    self.model = model
    seed = stage.seed
    packsPerStep = min(max(5, stage.group.worldSize + 1), 17)
    sampleCount = samplesPerPack * (2 * packsPerStep + 1)
  }

  /// Buckets of single layers, so that a small model's gradients travel in several.
  func slices(_ layout: AdapterLayout, worldSize: Int) -> WeightSlices {
    WeightSlices(parts: layout.parts, worldSize: worldSize, bucketElementCount: 1)
  }

  /// Trains on ranks of which each holds the base by itself.
  func result(on group: any ProcessGroup, _ stage: SelfTestStage) throws -> TrialResult {
    try result(on: group, placement: .own, stage)
  }

  func result(on group: any ProcessGroup, placement: BasePlacement, _ stage: SelfTestStage)
    throws -> TrialResult
  {
    var run = try TrialRun(self, on: group, placement: placement, stage)
    return TrialResult(metrics: try run.train(1...steps), weights: try run.weights())
  }
}

/// What a trial computed.
struct TrialResult {
  var metrics: [StepMetrics]
  var weights: [Float]

  /// Says where the bits differ.
  ///
  /// - Parameter other: the same trial in another way.
  /// - Returns: nil when all are equal.
  func difference(from other: TrialResult) -> String? {
    guard metrics.count == other.metrics.count, weights.count == other.weights.count else {
      return "\(metrics.count) steps and \(weights.count) weights, not \(other.metrics.count) and "
        + "\(other.weights.count)"
    }
    var parts: [String] = []
    for (number, (ours, theirs)) in zip(metrics, other.metrics).enumerated() {
      for (name, a, b) in [
        ("loss", ours.loss, theirs.loss), ("router loss", ours.routerLoss, theirs.routerLoss),
        ("gradient norm", ours.gradientNorm, theirs.gradientNorm),
      ] where a.bitPattern != b.bitPattern && parts.isEmpty {
        parts.append(
          "step \(number + 1): \(name) \(a) and \(b), relative difference "
            + "\(RelativeDifference.text(RelativeDifference.of(a, b)))")
      }
    }
    let unequal = zip(weights, other.weights).filter { $0.bitPattern != $1.bitPattern }
    if !unequal.isEmpty {
      let most = unequal.map { abs(Double($0) - Double($1)) }.max() ?? 0
      parts.append(
        "\(unequal.count) of \(weights.count) weights, by up to \(RelativeDifference.text(most))")
    }
    return parts.isEmpty ? nil : parts.joined(separator: "; ")
  }

  /// What was compared.
  var summary: String {
    "\(metrics.count) steps' losses and norms, and \(weights.count) adapter weights, byte-equal"
  }

  /// A number that stands for all bits, to compare ranks.
  var fingerprint: Double {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func add(_ bits: UInt64) { hash = (hash ^ bits) &* 0x100_0000_01b3 }
    for step in metrics {
      for value in [step.loss, step.routerLoss, step.gradientNorm] { add(value.bitPattern) }
    }
    for weight in weights { add(UInt64(weight.bitPattern)) }
    // A double holds 52 bits exactly.
    return Double((hash ^ hash >> 32) >> 12)
  }
}

/// Differences as `test` tells them.
enum RelativeDifference {
  static func of(_ a: Double, _ b: Double) -> Double {
    a == b ? 0 : abs(a - b) / max(abs(a), abs(b))
  }

  /// Of the sums of two lists of losses.
  static func ofSums(_ a: [Float], _ b: [Float]) -> Double {
    of(a.reduce(0.0) { $0 + Double($1) }, b.reduce(0.0) { $0 + Double($1) })
  }

  /// The norm of `a - b` over that of `b`.
  static func ofVectors(_ a: [Double], _ b: [Double]) -> Double {
    let difference = zip(a, b).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let size = b.reduce(0.0) { $0 + $1 * $1 }
    return difference == 0 ? 0 : (difference / size).squareRoot()
  }

  /// Two digits: `3.1e-8`.
  static func text(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
    var (mantissa, exponent) = (value, 0)
    while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    return "\(NumberText.fixed(mantissa, digits: 1))e\(exponent)"
  }
}

/// The parts of a trial, as `train` puts them together.
struct TrialRun {
  let step: TrainStep
  let layout: AdapterLayout
  let samples: [Sample]
  private let exchange: GradientExchange
  private let group: any ProcessGroup
  private let backend: any Backend
  private var plan: PackPlan

  init(
    _ trial: Trial, on group: any ProcessGroup, placement: BasePlacement = .own,
    _ stage: SelfTestStage
  ) throws {
    self.group = group
    backend = try stage.backend(trial.model, threads: trial.threads)
    let base = try stage.base(trial.model, placement: placement, threads: trial.threads)
    samples = try stage.samples(trial.model, count: trial.sampleCount)
    plan = try PackPlan(
      lengths: samples.map(\.tokens.count),
      settings: PackPlan.Settings(
        filling: .samplesPerPack(trial.samplesPerPack), packsPerStep: trial.packsPerStep,
        shuffle: trial.shuffles, seed: trial.seed, epochs: nil, maxSteps: trial.steps))
    var lora = trial.lora
    if !base.configuration.isMixture { lora.targets.remove(.router) }
    layout = AdapterLayout(base.configuration, lora)
    let weights = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
    try backend.upload(layout.initialValues(seed: trial.seed), to: weights)

    // Room for the largest pack that a check makes of the samples.
    let largest = samples.map(\.tokens.count).sorted().suffix(
      max(trial.samplesPerPack, SelfTestCheck.isolatedSampleCount)
    ).reduce(0, +)
    let bytes = try ActivationPlan(
      base.configuration, layouts: base.layouts, adapters: layout,
      activationType: backend.activationType
    ).byteCount(
      tokenCount: largest, targetCount: largest, retention: trial.retention,
      hasDropout: lora.dropout > 0)
    let model = try CausalLM(
      configuration: base.configuration, layouts: base.layouts, stream: base.stream,
      adapters: AdapterWeights(layout: layout, values: weights),
      positionCount: samples.map(\.tokens.count).max() ?? 1,
      arena: Arena(storage: try backend.makeStorage(byteCount: bytes), name: "activations"),
      backend: backend)
    exchange = try GradientExchange(
      group: group, slices: trial.slices(layout, worldSize: group.worldSize),
      maximumPackCount: trial.packsPerStep, backend: backend)
    step = TrainStep(
      model: model, weights: weights, group: group, exchange: exchange,
      optimizer: try AdamW(
        AdamWSettings(
          beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: trial.weightDecay),
        count: exchange.slices.count(ofRank: group.rank), backend: backend),
      schedule: LearningRateSchedule(
        kind: .constant, peak: trial.learningRate, warmupSteps: 0, totalSteps: trial.steps),
      maximumGradientNorm: 1, routerLossCoefficient: base.configuration.routerLossCoefficient,
      dropout: (trial.seed, lora.dropout), retention: trial.retention)
  }

  mutating func train(_ numbers: ClosedRange<Int>) throws -> [StepMetrics] {
    var metrics: [StepMetrics] = []
    for number in numbers {
      let (stepPlan, packs) = try plan.makeStep(number, of: SampleList(samples), on: group)
      metrics.append(try step.run(stepPlan, packs: packs))
    }
    return metrics
  }

  /// The packs of a step as sample numbers.
  mutating func packs(ofStep number: Int) -> [[Int]] { plan.packs(ofStep: number) }

  func weights() throws -> [Float] { try backend.download(step.weights) }

  func setWeights(_ values: [Float]) throws { try backend.upload(values, to: step.weights) }

  /// Adam's moments, whole on every rank.
  func moments() throws -> [[Float]] {
    try [step.optimizer.firstMoment, step.optimizer.secondMoment].map { slice in
      try exchange.withFreeBuffer { whole in
        try exchange.gatherWhole(slice, into: whole)
        return try backend.download(whole)
      }
    }
  }

  func setMoments(_ whole: [[Float]]) throws {
    let moments = [step.optimizer.firstMoment, step.optimizer.secondMoment]
    for (values, moment) in zip(whole, moments) {
      try backend.upload(exchange.slices.slice(ofRank: group.rank, of: values), to: moment)
    }
  }
}
