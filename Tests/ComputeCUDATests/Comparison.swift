import Compute
import ComputeCPU
import ComputeCUDA
import TestSupport
import Testing

/// The same operations on the emulated device and on the CPU backend.
struct Comparison {
  let emulated: EmulatedDevice
  let cuda: TestDevice
  let cpu: TestDevice

  init(precision: Precision = .float32, seed: UInt64 = 1) throws {
    emulated = EmulatedDevice(seed: seed)
    cuda = TestDevice(try CUDABackend(device: emulated, precision: precision))
    cpu = TestDevice(CPUBackend(threadCount: 1, precision: precision))
  }

  /// Runs `body` on both and compares what it returns, number by number.
  ///
  /// - Parameters:
  ///   - tolerance: the largest normalized error; 0 asks for the same bits.
  ///   - seed: of the inputs.
  ///   - body: gets the same random numbers on both devices.
  func check(
    _ tolerance: Double = Tolerance.float32, seed: UInt64 = 7,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (TestDevice, inout Random) throws -> [[Float]]
  ) throws {
    var random = Random(seed)
    let expected = try body(cpu, &random)
    random = Random(seed)
    let results = try body(cuda, &random)
    #expect(expected.count == results.count, sourceLocation: sourceLocation)
    for (number, (result, reference)) in zip(results, expected).enumerated() {
      guard result.count == reference.count else {
        Issue.record("\(result.count) numbers", sourceLocation: sourceLocation)
        continue
      }
      if tolerance == 0 {
        #expect(
          result.map(\.bitPattern) == reference.map(\.bitPattern), "result \(number)",
          sourceLocation: sourceLocation)
      } else {
        let error = normalizedError(result.map(Double.init), reference.map(Double.init))
        #expect(
          error <= tolerance, "result \(number): error \(error)", sourceLocation: sourceLocation)
      }
    }
  }
}

extension TestDevice {
  /// Integers and bytes as numbers that compare.
  func numbers(_ tensor: Tensor) throws -> [Float] {
    switch tensor.elementType {
    case .float32: try floats(tensor)
    case .int32: try backend.downloadInt32(tensor).map(Float.init)
    default: try bytes(tensor).map(Float.init)
    }
  }

  func random(_ rows: Int, _ columns: Int, _ random: inout Random, scale: Double = 1) throws
    -> Tensor
  {
    try tensor(random.matrix(rows, columns, scale: scale))
  }
}
