import Compute
import ComputeCPU
import ComputeCUDA
import DistributedTraining
import Model
import Optim
import Support
import TestSupport
import Testing
import Trainer

/// Whole optimizer steps of tiny models on the emulated device, by the model and the trainer as they
/// are, against the CPU backend.
@Suite struct StepTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var model: String
    var quantization = QuantizationSettings()
    var dropout: Float = 0
    var precision = Precision.float32
    var retention = CausalLM.Retention.activations
    var testDescription: String { "\(model), \(precision), \(quantization)" }
  }

  static let cases = [
    Case(model: "mixtral-router-head", dropout: 0.2),
    Case(
      model: "mixtral-experts", quantization: .init(isNF4: true, isDouble: true),
      retention: .inputs),
    Case(model: "mistral-window", quantization: .init(isNF4: true)),
    Case(model: "qwen2-tied"),
    Case(model: "mixtral-experts", precision: .bfloat16),
  ]

  @Test(arguments: cases) func steps(_ example: Case) throws {
    let emulated = EmulatedDevice()
    let cuda = try CUDABackend(device: emulated, precision: example.precision)
    let cpu = CPUBackend(threadCount: 1, precision: example.precision)
    let result = try run(example, cuda)
    let expected = try run(example, cpu)
    let isExact = example.precision == .float32
    for (step, (ours, theirs)) in zip(result.metrics, expected.metrics).enumerated() {
      let difference = abs(ours.loss - theirs.loss) / theirs.loss
      #expect(difference < (isExact ? 2e-6 : 1e-3), "step \(step + 1)")
      #expect(
        abs(ours.gradientNorm - theirs.gradientNorm) < (isExact ? 1e-5 : 2e-2) * theirs.gradientNorm
      )
      #expect(abs(ours.routerLoss - theirs.routerLoss) <= (isExact ? 1e-5 : 1e-2))
    }
    let error = normalizedError(
      result.gradients.map(Double.init), expected.gradients.map(Double.init)
    ).squareRoot()
    #expect(error < (isExact ? 1e-5 : 2e-2), "gradients differ by \(error)")
    let drift = normalizedError(
      result.weights.map(Double.init), expected.weights.map(Double.init)
    ).squareRoot()
    #expect(drift < (isExact ? 1e-4 : 5e-2), "weights differ by \(drift)")
    #expect(emulated.hasRun("route_tokens") == example.model.hasPrefix("mixtral"))
  }

  /// Continues a text token by token, with keys and values of earlier tokens kept.
  @Test func generates() throws {
    let results = try [
      CUDABackend(device: EmulatedDevice(), precision: .float32) as any Backend,
      CPUBackend(threadCount: 1),
    ].map { backend in
      let base = try TinyModel.base("mistral-window", backend: backend)
      let model = try TinyModel.model(base, adapters: nil, backend)
      return try model.complete(
        prompts: [[5, 9, 3, 7], [1, 2]], maximumNewTokens: 5, endIDs: []
      ).map(\.ids)
    }
    #expect(results[0] == results[1])
    #expect(results[0][0].count == 5)
  }

  private struct StepResult {
    var metrics: [StepMetrics]
    var gradients: [Float]
    var weights: [Float]
  }

  /// Gradients of one pack, then two steps of two packs.
  private func run(_ example: Case, _ backend: any Backend) throws -> StepResult {
    let base = try TinyModel.base(example.model, example.quantization, backend: backend)
    var targets = Set(LoRATarget.allCases)
    if !base.configuration.isMixture { targets.remove(.router) }
    let layout = AdapterLayout(
      base.configuration,
      LoRASettings(loraRank: 3, alpha: 5, dropout: example.dropout, targets: targets))
    var random = Random(99)
    let weights = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
    try backend.upload(
      (0..<layout.elementCount).map { _ in Float(0.15 * random.normal()) }, to: weights)
    let model = try TinyModel.model(
      base, adapters: AdapterWeights(layout: layout, values: weights), backend)
    let packs = [[9, 1, 4], [12]].map {
      TinyModel.pack($0, base.configuration.vocabularySize, &random)
    }

    let gradients = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
    let key = DropoutKey(seed: 5, step: 3, layer: 0, input: 0, rate: example.dropout)
    let pass = try model.forward(packs[0], dropout: key, retention: example.retention)
    _ = try model.loss(pass, gradientScale: 0.1, gradients: gradients)
    try model.backward(pass, routerLossScale: 0.5, gradients: gradients)

    let group = SoloGroup()
    let exchange = try GradientExchange(
      group: group,
      slices: WeightSlices(parts: layout.parts, worldSize: 1, bucketElementCount: 1),
      maximumPackCount: 2, backend: backend)
    let step = TrainStep(
      model: model, weights: weights, group: group, exchange: exchange,
      optimizer: try AdamW(AdamWSettings(), count: layout.elementCount, backend: backend),
      schedule: LearningRateSchedule(kind: .constant, peak: 1e-3, warmupSteps: 0, totalSteps: 2),
      maximumGradientNorm: 1, routerLossCoefficient: base.configuration.routerLossCoefficient,
      dropout: (7, example.dropout), retention: example.retention)
    let metrics = try (1...2).map { number in
      try step.run(
        StepPlan(
          step: number, packCount: 2, targetTokens: packs.reduce(0) { $0 + $1.targets.count },
          tokens: packs.reduce(0) { $0 + $1.tokens.count }),
        packs: packs)
    }
    return StepResult(
      metrics: metrics, gradients: try backend.download(gradients),
      weights: try backend.download(weights))
  }
}
