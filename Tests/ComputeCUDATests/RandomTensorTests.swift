import Compute
import ComputeCPU
import ComputeCUDA
import TestSupport
import Testing

/// Random weights have the CPU's bits on the emulated device, and so have their codes and scales.
@Suite struct RandomTensorTests {
  static let random = RandomTensor(
    seed: 0x1234_5678_9ABC, stream: 0xFEDC_BA98_7654_3210, standardDeviation: 0.02)

  @Test(arguments: [(1, 0), (7, 32), (64, 64), (2056, 1 << 34 - 1024), (5001, 96)])
  func bitsAreThoseOfTheCPU(_ count: Int, _ first: Int) throws {
    func bytes(_ backend: any Backend) throws -> [[UInt8]] {
      let device = TestDevice(backend)
      return try [ElementType.float32, .bfloat16].map { type in
        let out = try device.tensor(
          bytes: [UInt8](repeating: 0xAB, count: count * type.byteCount), rows: 1, columns: count,
          type)
        try backend.fill(out, with: Self.random, from: first)
        return try device.bytes(out)
      }
    }
    #expect(
      try bytes(CUDABackend(device: EmulatedDevice(), precision: .float32))
        == bytes(CPUBackend(threadCount: 1)))
  }
}
