import Compute
import ComputeCUDA
import DistributedTraining
import Model
import Optim
import Support
import TestSupport
import Testing
import Trainer

/// A tiny model and how it is trained.
struct StepCase: Sendable, CustomTestStringConvertible {
  var model: String
  var quantization = QuantizationSettings()
  var dropout: Float = 0
  var precision = Precision.float32
  var retention = CausalLM.Retention.activations
  var loraRank = 3
  /// Samples of each pack.
  var packs = [[9, 1, 4], [12]]
  var testDescription: String { "\(model), \(precision), \(quantization), \(retention)" }
}

/// Optimizer steps of a tiny model on a backend, by the model and the trainer as they are, in memory
/// that is planned as `train` plans it.
final class StepRun {
  let example: StepCase
  let backend: any Backend
  private let base: LoadedBase
  private let layout: AdapterLayout
  private let packs: [PackInput]
  private let model: CausalLM
  private let weights: Tensor
  private let gradients: Tensor
  private let step: TrainStep
  private let group: any ProcessGroup
  private var stepCount = 0

  /// Makes collectives for the ranks of a group.
  typealias MakeCollectives =
    @Sendable (any ProcessGroup, any Backend) throws
    -> any TensorCollectives

  init(
    _ example: StepCase, _ backend: any Backend, meter: (any WorkspaceMeter)? = nil,
    on group: any ProcessGroup = SoloGroup(), isSliced: Bool = false,
    makeCollectives: MakeCollectives = { try HostCollectives($0, backend: $1) }
  ) throws {
    self.example = example
    self.backend = backend
    self.group = group
    base = try Self.base(
      example.model, example.quantization, backend,
      placement: isSliced
        ? .sharded(makeCollectives(try group.makeBackgroundGroup(), backend)) : .own)
    var targets = Set(LoRATarget.allCases)
    if !base.configuration.isMixture { targets.remove(.router) }
    layout = AdapterLayout(
      base.configuration,
      LoRASettings(
        loraRank: example.loraRank, alpha: 5, dropout: example.dropout, targets: targets))
    var random = Random(99)
    let values = (0..<layout.elementCount).map { _ in Float(0.15 * random.normal()) }
    let vocabulary = base.configuration.vocabularySize
    packs = example.packs.map { Self.pack($0, vocabulary, &random) }

    let longest = example.packs.joined().max() ?? 1
    let plan = try ActivationPlan(
      base.configuration, layouts: base.layouts, adapters: layout,
      activationType: backend.activationType, meter: meter)
    let byteCount = try plan.byteCount(
      tokenCount: packs.map(\.tokens.count).max() ?? 0,
      targetCount: packs.map(\.targets.count).max() ?? 0, retention: example.retention,
      hasDropout: example.dropout > 0, longestSample: longest)
    let slices = WeightSlices(
      parts: layout.parts, worldSize: group.worldSize, bucketElementCount: 1)
    meter?.sumsOfSquares(count: layout.elementCount, blockSize: slices.blockSize)

    weights = try Self.vector(layout.elementCount, backend)
    gradients = try Self.vector(layout.elementCount, backend)
    try backend.upload(values, to: weights)
    model = try CausalLM(
      configuration: base.configuration, layouts: base.layouts, stream: base.stream,
      adapters: AdapterWeights(layout: layout, values: weights), positionCount: max(64, longest),
      arena: Arena(storage: try backend.makeStorage(byteCount: byteCount), name: "planned"),
      backend: backend)
    let exchange = try GradientExchange(
      group: group, slices: slices, maximumPackCount: packs.count, backend: backend,
      collectives: group.worldSize > 1 ? makeCollectives(group, backend) : nil)
    step = TrainStep(
      model: model, weights: weights, group: group, exchange: exchange,
      optimizer: try AdamW(
        AdamWSettings(), count: slices.count(ofRank: group.rank), backend: backend),
      schedule: LearningRateSchedule(kind: .constant, peak: 1e-3, warmupSteps: 0, totalSteps: 2),
      maximumGradientNorm: 1, routerLossCoefficient: base.configuration.routerLossCoefficient,
      dropout: (7, example.dropout), retention: example.retention)
  }

  /// Gradients of the first pack.
  func gradientsOfOnePack() throws -> [Float] {
    let key = DropoutKey(seed: 5, step: 3, layer: 0, input: 0, rate: example.dropout)
    let pass = try model.forward(packs[0], dropout: key, retention: example.retention)
    _ = try model.loss(pass, gradientScale: 0.1, gradients: gradients)
    try model.backward(pass, routerLossScale: 0.5, gradients: gradients)
    return try backend.download(gradients)
  }

  /// One step of all packs.
  func next() throws -> StepMetrics {
    stepCount += 1
    return try step.run(
      StepPlan(
        step: stepCount, packCount: packs.count,
        targetTokens: packs.reduce(0) { $0 + $1.targets.count },
        tokens: packs.reduce(0) { $0 + $1.tokens.count }),
      packs: Array(
        packs[
          PackRuns.run(
            ofRank: group.rank, packCount: packs.count, worldSize: group.worldSize)]))
  }

  func weightValues() throws -> [Float] { try backend.download(weights) }

  static func base(
    _ name: String, _ quantization: QuantizationSettings, _ backend: any Backend,
    placement: BasePlacement = .own
  ) throws -> LoadedBase {
    let folder = FileSystem.parent(of: FileSystem.parent(of: #filePath))
    return try LoadedBase(
      LoadedBase.Description(
        directory: "\(folder)/Fixtures/models/\(name)", quantization: quantization,
        backend: backend), placement: placement, backend: backend)
  }

  private static func vector(_ count: Int, _ backend: any Backend) throws -> Tensor {
    Tensor(storage: try backend.makeStorage(byteCount: 4 * count), columns: count)
  }

  /// Samples of these lengths laid end to end; every token but the first is a target.
  private static func pack(_ lengths: [Int], _ vocabulary: Int, _ random: inout Random)
    -> PackInput
  {
    var pack = PackInput(
      tokens: [], positions: [], sampleIndices: [], boundaries: [0], targetRows: [], targets: [])
    for (index, length) in lengths.enumerated() {
      let tokens = random.integers(length, below: vocabulary)
      pack.targetRows += (0..<length - 1).map { Int32(pack.tokens.count + $0) }
      pack.targets += tokens.dropFirst()
      pack.tokens += tokens
      pack.positions += 0..<Int32(length)
      pack.sampleIndices += [Int32](repeating: Int32(index), count: length)
      pack.boundaries.append(pack.tokens.count)
    }
    return pack
  }
}
