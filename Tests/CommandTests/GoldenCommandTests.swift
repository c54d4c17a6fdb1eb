import Support
import TestSupport
import Testing

/// A trajectory of transformers, peft and bitsandbytes, and the flags that give it.
struct CommandCase: Sendable, CustomTestStringConvertible {
  var name: String
  var model: String
  var flags: [String] = []
  /// Of the trained loss; transformers' Trainer adds it per micro-batch, ours is the mean over two.
  var routerLossCoefficient = 0.0
  var isBFloat16 = false

  var testDescription: String { name }

  static let all = [
    CommandCase(name: "tiny-llama", model: "tiny-llama-f32"),
    CommandCase(
      name: "tiny-mixtral-attn-aux", model: "tiny-mixtral-f32", routerLossCoefficient: 0.04),
    CommandCase(name: "tiny-mixtral-experts", model: "tiny-mixtral-f32"),
    CommandCase(name: "qlora-tiny-llama-nf4", model: "tiny-llama-f32", flags: ["--quant", "nf4"]),
    CommandCase(
      name: "qlora-tiny-mixtral-nf4-dq", model: "tiny-mixtral-f32",
      flags: ["--quant", "nf4", "--double-quant", "--quant-router"], routerLossCoefficient: 0.04),
    CommandCase(
      name: "bf16-tiny-llama", model: "tiny-llama-bf16", flags: ["--mixed-precision", "bf16"],
      isBFloat16: true),
  ]
}

@Suite(
  .enabled(
    if: SharedReference.has("trajectories/common/batches.jsonl"),
    "no reference data in \(SharedReference.folder); set ACCELERATE_SHARED"))
struct GoldenCommandTests {
  @Test(arguments: CommandCase.all)
  func twentySteps(_ golden: CommandCase) throws {
    let place = try Workplace()
    let directory = SharedReference.path("trajectories/\(golden.name)")
    let output = place("run")
    let run = try place.run(
      [
        "train", "--model", SharedReference.path("models/\(golden.model)"), "--data",
        SharedReference.path("trajectories/common/batches.jsonl"), "--no-shuffle",
        "--samples-per-pack", "4", "--packs-per-step", "2", "--init-adapter",
        "\(directory)/init_adapter", "--lr", "1e-3", "--warmup-steps", "4", "--weight-decay",
        "0.01", "--router-aux-loss-coef", "\(golden.routerLossCoefficient)", "--output", output,
      ] + golden.flags)
    #expect(run.exitCode == 0, "\(run.errors)")
    let ours = try RunResult(output)
    let theirs = try FileSystem.readJSON("\(directory)/trajectory.json")["steps"]?.arrayValue ?? []
    try #require(theirs.count == 20 && ours.steps == Array(1...20))
    let (lossTolerance, normTolerance) = golden.isBFloat16 ? (2e-2, 5e-2) : (1e-5, 1e-4)
    for (record, step) in zip(ours.metrics, theirs) {
      let loss = try #require(step["loss"]?.doubleValue)
      let norm = try #require(step["grad_norm"]?.doubleValue)
      // The reference logs the router loss with the loss; dense models have none.
      let router = record["router_loss"]?.doubleValue ?? 0
      let total = try #require(record["loss"]?.doubleValue) + golden.routerLossCoefficient * router
      let ourNorm = try #require(record["gradient_norm"]?.doubleValue)
      #expect(abs(total - loss) <= lossTolerance * loss, "\(record["step"]!): \(total), \(loss)")
      #expect(
        abs(ourNorm - norm) <= normTolerance * norm, "\(record["step"]!): \(ourNorm), \(norm)")
    }
    if golden.isBFloat16 { return }
    let final = try SafetensorsFile(path: "\(directory)/final_adapter/adapter_model.safetensors")
    let own = try SafetensorsFile(path: "\(output)/adapter_model.safetensors")
    #expect(final.entries.keys.sorted() == own.entries.keys.sorted())
    for name in own.entries.keys.sorted() {
      let (a, b) = (try own.floats(named: name), try final.floats(named: name))
      var (difference, size) = (0.0, 0.0)
      for (x, y) in zip(a, b) {
        difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
        size += Double(y) * Double(y)
      }
      #expect((difference / max(size, 1e-30)).squareRoot() <= 2e-4, "\(name)")
    }
  }

  /// Fused experts are another layout of adapters, which must not be read as if it were this one.
  @Test func fusedExpertsAreRefused() throws {
    let place = try Workplace()
    let run = try place.run([
      "train", "--model", SharedReference.path("models/tiny-mixtral-f32"), "--data",
      SharedReference.path("trajectories/common/batches.jsonl"), "--init-adapter",
      SharedReference.path("trajectories/tiny-mixtral-experts-v5fused/init_adapter"), "--output",
      place("run"),
    ])
    expectError(
      run, ["adapter_config.json: target_parameters: ", "gate_up_proj", "is not implemented"])
  }
}
