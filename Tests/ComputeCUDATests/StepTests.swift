import Compute
import ComputeCPU
import ComputeCUDA
import Model
import TestSupport
import Testing
import Trainer

/// Whole optimizer steps of tiny models on the emulated device against the CPU backend.
@Suite struct StepTests {
  static let cases = [
    StepCase(model: "mixtral-router-head", dropout: 0.2),
    StepCase(
      model: "mixtral-experts", quantization: .init(isNF4: true, isDouble: true),
      retention: .inputs),
    StepCase(model: "mistral-window", quantization: .init(isNF4: true)),
    StepCase(model: "qwen2-tied"),
    StepCase(model: "mixtral-experts", precision: .bfloat16),
    StepCase(
      model: "mixtral-experts", quantization: .init(isNF4: true), dropout: 0.2,
      precision: .bfloat16),
  ]

  @Test(arguments: cases) func steps(_ example: StepCase) throws {
    let emulated = EmulatedDevice()
    let result = try run(
      example, CUDABackend(device: emulated, precision: example.precision))
    let expected = try run(example, CPUBackend(threadCount: 1, precision: example.precision))
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
      let base = try StepRun.base("mistral-window", .init(), backend)
      let model = try CausalLM(
        configuration: base.configuration, layouts: base.layouts, stream: base.stream,
        adapters: nil, positionCount: 64,
        arena: Arena(storage: try backend.makeStorage(byteCount: 1 << 24), name: "test"),
        backend: backend)
      return try model.complete(
        prompts: [[5, 9, 3, 7], [1, 2]], maximumNewTokens: 5, endIDs: []
      ).map(\.ids)
    }
    #expect(results[0] == results[1])
    #expect(results[0][0].count == 5)
  }

  /// Gradients of one pack, then two steps of two packs.
  private func run(_ example: StepCase, _ backend: any Backend) throws -> (
    metrics: [StepMetrics], gradients: [Float], weights: [Float]
  ) {
    let run = try StepRun(example, backend)
    let gradients = try run.gradientsOfOnePack()
    let metrics = try [run.next(), run.next()]
    return (metrics, gradients, try run.weightValues())
  }
}
