import CUDAEmulation
import Compute
import ComputeCUDA
import TestSupport
import Testing

/// Mistakes that are planted in kernels are found: what the emulation can see is worth something.
@Suite struct FaultTests {
  /// Whether an attention or a product with this mistake fails, or computes something else.
  private func isFound(_ kernel: String, _ kind: cuda_emulation_fault_kind, number: UInt32 = 0)
    throws -> Bool
  {
    let fault = cuda_emulation_fault(kind: kind, number: number)
    let right = try results(EmulatedDevice())
    // The mistake shows in some orders of the threads, not in all.
    for seed: UInt64 in 1...3 {
      let device = EmulatedDevice(seed: 1000 * seed, fault: (kernel, fault))
      guard let wrong = try? results(device) else { return true }
      #expect(device.hasRun(kernel))
      if wrong != right { return true }
    }
    return false
  }

  private func results(_ emulated: EmulatedDevice) throws -> [[UInt32]] {
    var random = Random(5)
    let device = TestDevice(try CUDABackend(device: emulated, precision: .bfloat16))
    let backend = device.backend
    let (T, width) = (150, 64)
    let weight = try device.base(width, width, .nf4, &random)
    let router = try device.base(8, width, .float32, alwaysFloat32: true, &random)
    let tensors = try (0..<4).map { _ in try device.random(T, width, &random) }
    let (linear, logits) = (try device.empty(T, width), try device.empty(T, 8))
    let (normed, reciprocals) = (try device.empty(T, width), try device.empty(1, T))
    let (out, logSumExp) = (try device.empty(T, width), try device.empty(2, T))
    let gradients = try (0..<4).map { _ in try device.empty(T, width) }
    let shape = AttentionShape(
      queryHeads: 2, keyValueHeads: 2, headWidth: 32, slidingWindow: nil,
      segments: [.init(queries: 0..<T, keys: 0..<T)])
    try backend.linear(tensors[0], weight.matrix, bias: nil, out: linear)
    try backend.linearBackward(
      tensors[0], weight.matrix, dx: gradients[3], accumulate: false)
    try backend.linear(tensors[0], router.matrix, bias: nil, out: logits)
    try backend.rmsNorm(
      tensors[0], weight: tensors[1].rows(0..<1), epsilon: 1e-5, out: normed,
      reciprocalRMS: reciprocals)
    try backend.attention(
      q: tensors[0], k: tensors[1], v: tensors[2], shape: shape, out: out, logSumExp: logSumExp)
    try backend.attentionBackward(
      tensors[3], q: tensors[0], k: tensors[1], v: tensors[2], out: out, logSumExp: logSumExp,
      shape: shape, dq: gradients[0], dk: gradients[1], dv: gradients[2])
    return try ([linear, logits, normed, out] + gradients).map {
      try device.floats($0).map(\.bitPattern)
    }
  }

  static let copying = [
    "rounded_product_nt", "rounded_product_nn", "attention_forward_32",
    "attention_backward_q_32", "attention_backward_kv_32",
  ]

  @Test(arguments: copying) func earlyWait(_ kernel: String) throws {
    #expect(try isFound(kernel, cuda_emulation_early_wait))
  }

  /// Barriers before shared memory is read and before it is written again.
  @Test(arguments: copying + ["product_nt"]) func skippedBarrier(_ kernel: String) throws {
    for number: UInt32 in 0..<(kernel.hasPrefix("rounded") ? 1 : 2) {
      #expect(
        try isFound(kernel, cuda_emulation_skipped_barrier, number: number), "barrier \(number)")
    }
  }

  @Test(arguments: ["rms_norm", "product_nt", "attention_forward_32"])
  func divergentBarrier(_ kernel: String) throws {
    #expect(try isFound(kernel, cuda_emulation_divergent_barrier))
  }

  /// The barrier between the parts of a sum over a block and their use.
  @Test func sumOfABlock() throws {
    #expect(try isFound("rms_norm", cuda_emulation_skipped_barrier, number: 1))
  }

  @Test func seedsChangeTheOrderAndNotTheResult() throws {
    #expect(try results(EmulatedDevice(seed: 77)) == results(EmulatedDevice(seed: 9_999)))
  }

  @Test func unknownKernel() {
    var message = [CChar](repeating: 0, count: 100)
    let isFine = unsafe cuda_emulation_launch(
      "nothing", cuda_emulation_size(x: 1, y: 1, z: 1), 32, 0, nil, 0,
      cuda_emulation_fault(kind: cuda_emulation_no_fault, number: 0), &message, message.count)
    #expect(!isFine)
  }
}

extension TestDevice {
  fileprivate func random(_ rows: Int, _ columns: Int, _ random: inout Random) throws -> Tensor {
    try tensor(random.matrix(rows, columns))
  }
}
