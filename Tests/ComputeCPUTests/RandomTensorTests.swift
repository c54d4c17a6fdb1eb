import Compute
import ComputeCPU
import TestSupport
import Testing

/// Random weights: every part of a tensor is what the definition says, element by element.
@Suite struct RandomTensorTests {
  static let random = RandomTensor(
    seed: 0x1234_5678_9ABC, stream: 0xFEDC_BA98_7654_3210, standardDeviation: 0.02)
  let device = TestDevice(CPUBackend(threadCount: 2))

  private func floats(_ count: Int, from first: Int) throws -> [Float] {
    let out = try device.empty(1, count)
    try device.backend.fill(out, with: Self.random, from: first)
    return try device.floats(out)
  }

  @Test(arguments: [
    (1, 0), (31, 32), (32, 0), (33, 64), (20_000, 96), (77, 1 << 34 - 64),
  ])
  func partsAreTheDefinition(_ count: Int, _ first: Int) throws {
    let values = try floats(count, from: first)
    #expect(values == (first..<first + count).map { Self.random[$0] })
    let halves = try device.tensor(
      bytes: [UInt8](repeating: 0xAB, count: 2 * count), rows: 1, columns: count, .bfloat16)
    try device.backend.fill(halves, with: Self.random, from: first)
    let bytes = try device.bytes(halves)
    let rounded = (0..<count).map {
      Float(bitPattern: (UInt32(bytes[2 * $0]) | UInt32(bytes[2 * $0 + 1]) << 8) << 16)
    }
    #expect(rounded == values.map(roundedToBFloat16))
  }

  @Test func theyLookNormal() throws {
    let values = try floats(1 << 18, from: 0).map { Double($0) / 0.02 }
    let count = Double(values.count)
    func moment(_ power: Int) -> Double {
      values.reduce(0) { sum, x in sum + (0..<power).reduce(1) { product, _ in product * x } }
        / count
    }
    // Four standard deviations of each mean.
    #expect(abs(moment(1)) < 4 / count.squareRoot())
    #expect(abs(moment(2) - 1) < 4 * (2 / count).squareRoot())
    #expect(abs(moment(3)) < 4 * (15 / count).squareRoot())
    // A sum of four has a kurtosis of 3 - 6/5/4.
    #expect(abs(moment(4) - 2.7) < 4 * (96 / count).squareRoot())
    let neighbours = zip(values, values.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 } / count
    #expect(abs(neighbours) < 4 / count.squareRoot())
  }

  @Test func tensorsDiffer() {
    var other = Self.random
    other.stream += 1
    #expect((0..<64).contains { other[$0] != Self.random[$0] })
    other = Self.random
    other.seed += 1 << 32
    #expect((0..<64).contains { other[$0] != Self.random[$0] })
  }
}
