package import Compute
internal import DistributedTraining
package import Model
internal import Optim
package import Trainer

/// A model, its adapter and a trainer, put together from a case of the reference.
package struct GoldenRun {
  package let backend: any Backend
  package let base: LoadedBase
  package let layout: AdapterLayout
  package let weights: Tensor
  package let model: CausalLM
  package let step: TrainStep

  package init(
    model name: String, adapter: String, quantization: QuantizationSettings = .init(),
    routerLossCoefficient: Double = 0, learningRate: Double = 1e-3,
    retention: CausalLM.Retention = .activations, on backend: any Backend
  ) throws {
    self.backend = backend
    let group = SoloGroup()
    base = try LoadedBase.load(
      directory: "\(Reference.directory)/models/\(name)", quantization: quantization,
      backend: backend)
    let file = try AdapterFile(
      directory: "\(Reference.directory)/trajectories/\(adapter)",
      configuration: base.configuration, base: base.source)
    layout = file.layout
    weights = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
    try backend.upload(file.values, to: weights)
    let plan = try ActivationPlan(
      base.configuration, layouts: base.layouts, adapters: layout,
      activationType: backend.activationType)
    let bytes = try plan.byteCount(
      tokenCount: 256, targetCount: 256, retention: retention, hasDropout: false)
    model = try CausalLM(
      configuration: base.configuration, layouts: base.layouts, stream: base.stream,
      adapters: AdapterWeights(layout: layout, values: weights), positionCount: 64,
      arena: Arena(storage: try backend.makeStorage(byteCount: bytes), name: "activations"),
      backend: backend)
    let exchange = try GradientExchange(
      group: group,
      slices: WeightSlices(parts: layout.parts, worldSize: group.worldSize, bucketElementCount: 1),
      maximumPackCount: 2, backend: backend)
    step = TrainStep(
      model: model, weights: weights, group: group, exchange: exchange,
      optimizer: try AdamW(
        AdamWSettings(weightDecay: 0.01),
        count: exchange.slices.count(ofRank: group.rank), backend: backend),
      schedule: LearningRateSchedule(
        kind: .linear, peak: learningRate, warmupSteps: 4, totalSteps: 20),
      maximumGradientNorm: 1, routerLossCoefficient: routerLossCoefficient,
      dropout: (0, 0), retention: retention)
  }

  /// Runs steps over the reference's packs, two a step.
  package func train(steps: Int) throws -> [StepMetrics] {
    let packs = try Reference.packs()
    return try (1...steps).map { number in
      let packs = Array(packs[2 * number - 2..<2 * number])
      return try step.run(
        StepPlan(
          step: number, packCount: 2,
          targetTokens: packs.reduce(0) { $0 + $1.targets.count },
          tokens: packs.reduce(0) { $0 + $1.tokens.count }), packs: packs)
    }
  }
}
