import Compute
import ComputeCUDA
import GoldenReference
import Testing

/// The first steps that transformers and peft recorded, on the emulated device: routers, experts, NF4 with
/// nested scales, and bf16.
@Suite(.enabled(if: Reference.isAvailable, "\(Reference.reason)"))
struct GoldenTests {
  static let names = ["tiny-mixtral-attn-aux", "qlora-tiny-mixtral-nf4-dq", "bf16-tiny-llama"]

  @Test(arguments: TrajectoryCase.all.filter { names.contains($0.name) })
  func firstSteps(_ golden: TrajectoryCase) throws {
    let run = try golden.makeRun(
      on: CUDABackend(device: EmulatedDevice(), precision: golden.precision))
    #expect(try golden.problems(of: run.train(steps: 2)) == [])
  }
}
