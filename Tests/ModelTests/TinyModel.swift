import Compute
import ComputeCPU
import Model
import Support
import TestSupport
import Trainer

/// A model of the fixtures with an adapter, ready to run.
struct TinyModel {
  let backend: any Backend
  let base: LoadedBase
  let layout: AdapterLayout
  /// The adapter's flat vector on the device.
  let weights: Tensor
  let model: CausalLM

  /// - Parameters:
  ///   - backend: computes; nil takes the CPU's.
  ///   - name: of the fixture.
  ///   - targets: adapts these with random weights; nil takes the fixture's adapter.
  init(
    _ name: String, targets: Set<LoRATarget>? = nil, threads: Int = 1,
    quantization: QuantizationSettings = .init(), precision: Precision = .float32,
    backend given: (any Backend)? = nil
  ) throws {
    backend = given ?? CPUBackend(threadCount: threads, precision: precision)
    let directory = "\(Fixture.folder)/\(name)"
    base = try LoadedBase.load(
      directory: directory, quantization: quantization, backend: backend)
    let values: [Float]
    if let targets {
      layout = AdapterLayout(
        base.configuration, LoRASettings(loraRank: 3, alpha: 5, targets: targets))
      var random = Random(99)
      values = (0..<layout.elementCount).map { _ in Float(0.15 * random.normal()) }
    } else {
      let file = try AdapterFile(
        directory: "\(directory)/adapter", configuration: base.configuration, base: base.source)
      layout = file.layout
      values = file.values
    }
    weights = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
    try backend.upload(values, to: weights)
    model = try CausalLM(
      configuration: base.configuration, layouts: base.layouts, stream: base.stream,
      adapters: AdapterWeights(layout: layout, values: weights),
      positionCount: base.configuration.positionCount,
      arena: Arena(storage: try backend.makeStorage(byteCount: 1 << 26), name: "test"),
      backend: backend)
  }

  var configuration: ModelConfiguration { base.configuration }

  func plan() throws -> ActivationPlan {
    try ActivationPlan(
      configuration, layouts: base.layouts, adapters: layout,
      activationType: backend.activationType)
  }

  /// A zeroed flat vector for gradients.
  func makeGradients() throws -> Tensor {
    Tensor(
      storage: try backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
  }

  /// What one pass over a pack computed.
  struct Result: Equatable {
    var losses: [Float]
    var routerLoss: Double
    var gradients: [Float]

    /// Mean loss and scaled router loss: what ``gradients`` is the gradient of.
    func objective(routerScale: Double) -> Double {
      losses.reduce(0.0) { $0 + Double($1) } / Double(losses.count) + routerScale * routerLoss
    }
  }

  /// Forward, loss and, unless nothing is retained, backward.
  func run(
    _ pack: PackInput, dropout: Float = 0, routerScale: Double = 0,
    retention: CausalLM.Retention = .activations
  ) throws -> Result {
    let key = DropoutKey(seed: 5, step: 3, layer: 0, input: 0, rate: dropout)
    let pass = try model.forward(pack, dropout: key, retention: retention)
    guard retention != .nothing else {
      return Result(
        losses: try model.loss(pass, gradientScale: nil).tokenLosses,
        routerLoss: try model.routerLoss(pass), gradients: [])
    }
    let gradients = try makeGradients()
    let loss = try model.loss(
      pass, gradientScale: Float(1 / Double(pack.targets.count)), gradients: gradients)
    try model.backward(pass, routerLossScale: routerScale, gradients: gradients)
    return Result(
      losses: loss.tokenLosses, routerLoss: try model.routerLoss(pass),
      gradients: try backend.download(gradients))
  }

  /// Logits of all rows of a pack.
  func logits(_ pack: PackInput) throws -> [Float] {
    let pass = try model.forward(pack, retention: .nothing)
    return try backend.download(
      model.logits(pass, rows: (0..<Int32(pack.tokens.count)).map { $0 }))
  }

  /// A checksum of all bytes of the frozen base.
  func baseChecksum() throws -> UInt64 {
    try base.layouts.indices.reduce(14_695_981_039_346_656_037) { sum, index in
      let slab = try base.stream.slab(index, next: nil)
      let bytes = unsafe UnsafeRawBufferPointer(start: slab.address, count: slab.byteCount)
      return unsafe bytes.reduce(sum) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
    }
  }
}

/// Euclidean norm of the difference over that of the reference.
func relativeError(_ ours: some Collection<Float>, _ theirs: some Collection<Float>) -> Double {
  precondition(ours.count == theirs.count)
  return normalizedError(ours.map(Double.init), theirs.map(Double.init)).squareRoot()
}

func largestDifference(_ ours: [Float], _ theirs: [Float]) -> Float {
  precondition(ours.count == theirs.count)
  return zip(ours, theirs).reduce(0) { $1.0.isFinite ? max($0, abs($1.0 - $1.1)) : .infinity }
}
