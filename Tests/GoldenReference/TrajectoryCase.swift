package import Compute
package import Model
internal import Support
package import Trainer

/// A trajectory of the reference and what it is run with here.
package struct TrajectoryCase: Sendable, CustomStringConvertible {
  package var name: String
  package var model: String
  package var quantization = QuantizationSettings()
  /// transformers' Trainer adds the router loss per micro-batch, ours is the mean over two packs.
  package var routerLossCoefficient = 0.0
  package var isBFloat16 = false

  package var description: String { name }

  package static let all = [
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

  package var precision: Precision { isBFloat16 ? .bfloat16 : .float32 }

  /// The run of this case, with the adapter that it starts from or another of its folder.
  package func makeRun(adapter: String = "init_adapter", on backend: any Backend) throws
    -> GoldenRun
  {
    try GoldenRun(
      model: model, adapter: "\(name)/\(adapter)", quantization: quantization,
      routerLossCoefficient: routerLossCoefficient, on: backend)
  }

  /// What of the first steps is not the reference's.
  package func problems(of metrics: [StepMetrics]) throws -> [String] {
    let trajectory = try FileSystem.readJSON(
      "\(Reference.directory)/trajectories/\(name)/trajectory.json")
    let expected = trajectory["steps"]?.arrayValue ?? []
    let (lossTolerance, normTolerance) = isBFloat16 ? (2e-2, 5e-2) : (1e-5, 1e-4)
    var problems = metrics.count <= expected.count ? [] : ["\(expected.count) steps are recorded"]
    for (number, (ours, theirs)) in zip(metrics, expected).enumerated() {
      let loss = theirs["loss"]?.doubleValue ?? .nan
      let norm = theirs["grad_norm"]?.doubleValue ?? .nan
      let rate = theirs["lr_used"]?.doubleValue ?? .nan
      // The reference logs the router loss with the loss.
      let total = ours.loss + routerLossCoefficient * ours.routerLoss
      if !(abs(total - loss) <= lossTolerance * loss) {
        problems.append("step \(number + 1): loss \(total), reference \(loss)")
      }
      if !(abs(ours.gradientNorm - norm) <= normTolerance * norm) {
        problems.append("step \(number + 1): norm \(ours.gradientNorm), reference \(norm)")
      }
      if !(abs(ours.learningRate - rate) <= 1e-12) {
        problems.append("step \(number + 1): rate \(ours.learningRate), reference \(rate)")
      }
    }
    return problems
  }
}
