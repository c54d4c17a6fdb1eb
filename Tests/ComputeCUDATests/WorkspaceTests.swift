import Compute
import ComputeCUDA
import Model
import TestSupport
import Testing

/// Memory that the backend takes for itself, against the plan's; tensors of a step lie in an arena
/// that the plan sizes, which is too small when the plan is wrong.
@Suite struct WorkspaceTests {
  static let cases = [
    StepCase(model: "qwen2-tied"),
    StepCase(model: "mistral-window", quantization: .init(isNF4: true), retention: .inputs),
    StepCase(model: "llama-bf16-weights", precision: .bfloat16, retention: .lastLayers(1)),
    StepCase(model: "llama-f16", dropout: 0.3, precision: .bfloat16),
    StepCase(model: "mixtral-router-head", dropout: 0.2, loraRank: 4),
    StepCase(
      model: "mixtral-experts", quantization: .init(isNF4: true, isDouble: true),
      precision: .bfloat16, retention: .inputs),
    // More than one chunk of tokens and of experts' rows.
    StepCase(
      model: "mixtral-experts", quantization: .init(isNF4: true), precision: .bfloat16,
      packs: [[530], [40, 3]]),
  ]

  private func run(_ example: StepCase) throws -> (
    device: EmulatedDevice, backend: CUDABackend, meter: CUDAWorkspaceMeter, run: StepRun
  ) {
    let device = EmulatedDevice()
    let backend = try CUDABackend(device: device, precision: example.precision)
    let meter = CUDAWorkspaceMeter(backend)
    return (device, backend, meter, try StepRun(example, backend, meter: meter))
  }

  /// Grown when needed, every part comes to what was planned and no part was forgotten.
  @Test(arguments: cases) func partsAreThosePlanned(_ example: StepCase) throws {
    let (_, backend, meter, run) = try run(example)
    _ = try run.next()
    let planned = meter.partByteCounts
    let taken = backend.workspaceByteCounts
    #expect(Set(taken.keys) == Set(planned.keys))
    for (part, byteCount) in taken {
      let bound = planned[part] ?? 0
      // Blocks of an attention are at most as many as its tokens; an expert gets all of them at most.
      let isBound =
        part.hasSuffix("Blocks") || part == "sums"
        || example.model.hasPrefix("mixtral") && ["operand", "partialSums"].contains(part)
      #expect(isBound ? byteCount <= bound : byteCount == bound, "\(part): \(byteCount), \(bound)")
    }
  }

  /// All memory is there before the first step, and after it.
  @Test(arguments: cases) func stepsTakeNoMemory(_ example: StepCase) throws {
    let (device, _, meter, run) = try run(example)
    try meter.reserve()
    let before = (device.allocationCount, device.peakByteCount)
    for _ in 0..<(example.packs[0].count == 1 ? 1 : 2) {
      _ = try run.next()
      #expect((device.allocationCount, device.peakByteCount) == before)
    }
  }
}
