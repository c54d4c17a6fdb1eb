import Compute
import ComputeCPU
import Model
import Support
import Testing
import Trainer

/// A trajectory of the reference and what it is run with here.
struct TrajectoryCase: Sendable, CustomTestStringConvertible {
  var name: String
  var model: String
  var quantization = QuantizationSettings()
  /// transformers' Trainer adds the router loss per micro-batch, ours is the mean over two packs.
  var routerLossCoefficient = 0.0
  var isBFloat16 = false

  var testDescription: String { name }

  static let all = [
    TrajectoryCase(name: "tiny-llama", model: "tiny-llama-f32"),
    TrajectoryCase(
      name: "tiny-mixtral-attn-aux", model: "tiny-mixtral-f32", routerLossCoefficient: 0.04),
    TrajectoryCase(name: "tiny-mixtral-experts", model: "tiny-mixtral-f32"),
    TrajectoryCase(
      name: "qlora-tiny-llama-nf4", model: "tiny-llama-f32",
      quantization: QuantizationSettings(isNF4: true)),
    TrajectoryCase(
      name: "qlora-tiny-mixtral-nf4-dq", model: "tiny-mixtral-f32",
      quantization: QuantizationSettings(isNF4: true, isDouble: true, includesRouter: true),
      routerLossCoefficient: 0.04),
    TrajectoryCase(name: "bf16-tiny-llama", model: "tiny-llama-bf16", isBFloat16: true),
  ]
}

@Suite(.enabled(if: Reference.isAvailable, "\(Reference.reason)"))
struct TrajectoryTests {
  @Test(arguments: TrajectoryCase.all)
  func twentySteps(_ golden: TrajectoryCase) throws {
    let directory = "\(Reference.directory)/trajectories/\(golden.name)"
    let trajectory = try FileSystem.readJSON("\(directory)/trajectory.json")
    let expected = trajectory["steps"]?.arrayValue ?? []
    let run = try GoldenRun(
      model: golden.model, adapter: "\(golden.name)/init_adapter",
      quantization: golden.quantization,
      precision: golden.isBFloat16 ? .bfloat16 : .float32,
      routerLossCoefficient: golden.routerLossCoefficient)
    let metrics = try run.train(steps: 20)
    try #require(expected.count == 20)
    let (lossTolerance, normTolerance) = golden.isBFloat16 ? (2e-2, 5e-2) : (1e-5, 1e-4)
    for (number, (ours, theirs)) in zip(metrics, expected).enumerated() {
      let loss = try #require(theirs["loss"]?.doubleValue)
      let norm = try #require(theirs["grad_norm"]?.doubleValue)
      let rate = try #require(theirs["lr_used"]?.doubleValue)
      // The reference logs the router loss with the loss.
      let total = ours.loss + golden.routerLossCoefficient * ours.routerLoss
      #expect(
        abs(total - loss) <= lossTolerance * loss,
        "step \(number + 1): loss \(total), reference \(loss)")
      #expect(
        abs(ours.gradientNorm - norm) <= normTolerance * norm,
        "step \(number + 1): norm \(ours.gradientNorm), reference \(norm)")
      #expect(abs(ours.learningRate - rate) <= 1e-12)
    }
    if golden.isBFloat16 { return }
    let final = try AdapterFile(
      directory: "\(directory)/final_adapter", configuration: run.base.configuration,
      base: run.base.source)
    let ours = try run.backend.download(run.weights)
    for entry in run.layout.entries {
      for range in [entry.rangeA, entry.rangeB] {
        let error = relativeError(Array(ours[range]), Array(final.values[range]))
        #expect(error <= 2e-4, "\(entry.module): \(error)")
      }
    }
  }

  /// Relative error by Euclidean norms.
  private func relativeError(_ ours: [Float], _ theirs: [Float]) -> Double {
    var difference = 0.0
    var size = 0.0
    for (a, b) in zip(ours, theirs) {
      difference += (Double(a) - Double(b)) * (Double(a) - Double(b))
      size += Double(b) * Double(b)
    }
    return size == 0 ? difference.squareRoot() : (difference / size).squareRoot()
  }
}
