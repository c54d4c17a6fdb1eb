import Compute
import ComputeCPU
import DistributedTraining
import Foundation
import Model
import Optim
import Support
import Trainer

/// The directory of reference data, which is not part of the project.
enum Reference {
  static let directory: String = {
    let root = ProcessInfo.processInfo.environment["ACCELERATE_SHARED"] ?? "../shared"
    return "\(root)/reference"
  }()
  static let isAvailable = FileManager.default.fileExists(atPath: directory + "/trajectories")
  static let reason = "no reference data at \(directory); set ACCELERATE_SHARED"

  /// Token rows of `batches.jsonl`, packs of four consecutive rows.
  static func packs() throws -> [PackInput] {
    let text = try FileSystem.readText("\(directory)/trajectories/common/batches.jsonl")
    let rows = try text.split(separator: "\n").map { line in
      let row = try JSONParser.parse(String(line))
      func ids(_ name: String) -> [Int32] {
        row[name]?.arrayValue?.compactMap { $0.intValue.map { Int32($0) } } ?? []
      }
      return (tokens: ids("input_ids"), labels: ids("labels"))
    }
    return stride(from: 0, to: rows.count, by: 4).map { first in
      var pack = PackInput(
        tokens: [], positions: [], sampleIndices: [], boundaries: [0], targetRows: [], targets: [])
      for sample in first..<first + 4 {
        let (tokens, labels) = rows[sample]
        for position in tokens.indices {
          if position + 1 < tokens.count, labels[position + 1] >= 0 {
            pack.targetRows.append(Int32(pack.tokens.count + position))
            pack.targets.append(labels[position + 1])
          }
        }
        pack.tokens += tokens
        pack.positions += (0..<Int32(tokens.count))
        pack.sampleIndices += [Int32](repeating: Int32(sample), count: tokens.count)
        pack.boundaries.append(pack.tokens.count)
      }
      return pack
    }
  }
}

/// A model, its adapter and a trainer, put together from a case of the reference.
struct GoldenRun {
  let backend: CPUBackend
  let base: LoadedBase
  let layout: AdapterLayout
  let weights: Tensor
  let model: CausalLM
  let step: TrainStep

  init(
    model name: String, adapter: String, quantization: QuantizationSettings = .init(),
    precision: Precision = .float32, routerLossCoefficient: Double = 0, learningRate: Double = 1e-3,
    retention: CausalLM.Retention = .activations, threads: Int = 1,
    group: any ProcessGroup = SoloGroup()
  ) throws {
    backend = CPUBackend(threadCount: threads, precision: precision)
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
  func train(steps: Int) throws -> [StepMetrics] {
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
