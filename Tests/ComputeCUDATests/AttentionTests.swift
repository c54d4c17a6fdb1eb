import Compute
import ComputeCUDA
import TestSupport
import Testing

/// What attention makes of numbers at the edge, on the emulated device.
@Suite struct AttentionTests {
  private func device(_ precision: Precision) throws -> TestDevice {
    TestDevice(try CUDABackend(device: EmulatedDevice(), precision: precision))
  }

  private func shape(_ tokens: Int) -> AttentionShape {
    AttentionShape(
      queryHeads: 4, keyValueHeads: 2, headWidth: 16, slidingWindow: nil,
      segments: [.init(queries: 0..<tokens, keys: 0..<tokens)])
  }

  @Test func largeScoresStayFinite() throws {
    for precision in [Precision.float32, .bfloat16] {
      let device = try device(precision)
      let shape = shape(20)
      let q = Matrix(20, 64, repeating: 300)
      let k = Matrix(20, 32, (0..<640).map { Double($0 / 32) })
      let out = try device.empty(20, 64)
      try device.backend.attention(
        q: try device.tensor(q), k: try device.tensor(k), v: try device.tensor(k), shape: shape,
        out: out, logSumExp: try device.empty(4, 20))
      // Each query sees its own key as by far the best.
      let own = Matrix(20, 64, (0..<1280).map { Double($0 / 64) })
      #expect(normalizedError(try device.matrix(out), own) < Tolerance.float32)
    }
  }

  @Test func notANumberIsNotHidden() throws {
    for precision in [Precision.float32, .bfloat16] {
      let device = try device(precision)
      let shape = shape(12)
      var q = Matrix(12, 64, repeating: 1)
      q[5, 3] = .nan
      let k = try device.tensor(Matrix(12, 32, repeating: 1))
      let out = try device.empty(12, 64)
      try device.backend.attention(
        q: try device.tensor(q), k: k, v: k, shape: shape, out: out,
        logSumExp: try device.empty(4, 12))
      #expect(try device.matrix(out)[5, 0].isNaN)
      #expect(try device.matrix(out)[4, 0] == 1)
    }
  }
}
