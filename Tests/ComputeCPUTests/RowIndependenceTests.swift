import Compute
import ComputeCPU
import Glibc
import TestSupport
import Testing

/// A row of a product has the same bits wherever it stands and however many rows are beside it, so
/// that a sample's losses do not depend on the other samples of its pack.
@Suite struct RowIndependenceTests {
  /// Odd widths, strips of less and of more than the tiles' 256 columns, few and many columns, long
  /// sums.
  static let shapes = [
    (input: 1, output: 1), (7, 5), (64, 8), (33, 65), (172, 64), (300, 257), (64, 300), (1030, 24),
    (2504, 208),
  ]

  @Test(arguments: shapes.indices, [Precision.float32, .bfloat16])
  func rowsAreIndependent(_ shape: Int, _ precision: Precision) throws {
    try expectIndependentRows(Self.shapes[shape], precision)
  }

  /// While texts are continued, rows need not be independent, but they are right.
  @Test func generatingPasses() throws {
    let device = TestDevice(CPUBackend(threadCount: 2))
    var random = Random(6)
    let x = random.matrix(1, 300)
    let weight = try device.base(65, 300, .nf4, &random)
    for isGenerating in [true, false, true] {
      device.backend.beginPass(isGenerating: isGenerating)
      let out = try device.empty(1, 65)
      try device.backend.linear(try device.tensor(x), weight.matrix, bias: nil, out: out)
      #expect(
        normalizedError(try device.matrix(out), x * weight.values.transposed) < Tolerance.float32)
    }
  }

  #if arch(x86_64)
    /// The same with the instructions of other processors, as far as this one has them.
    @Test func alsoWithoutAMX() async {
      await #expect(processExitsWith: .success) {
        unsafe setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", 1)
        try expectIndependentOfAllShapes()
      }
    }
    @Test func alsoWithoutAVX512() async {
      await #expect(processExitsWith: .success) {
        unsafe setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1)
        try expectIndependentOfAllShapes()
      }
    }
    @Test func alsoWithoutBFloat16() async {
      await #expect(processExitsWith: .success) {
        unsafe setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", 1)
        try expectIndependentOfAllShapes()
      }
    }
  #endif
}

private func expectIndependentOfAllShapes() throws {
  for shape in RowIndependenceTests.shapes {
    for precision in [Precision.float32, .bfloat16] { try expectIndependentRows(shape, precision) }
  }
}

private func expectIndependentRows(_ shape: (input: Int, output: Int), _ precision: Precision)
  throws
{
  let rowCount = 700
  let device = TestDevice(CPUBackend(threadCount: 2, precision: precision))
  var random = Random(UInt64(shape.input * 1000 + shape.output))
  let inputs = Rows(rowCount, shape.input, &random)
  let outputs = Rows(rowCount, shape.output, &random)
  let weights = try [BaseFormat.float32, .nf4].map {
    try device.base(shape.output, shape.input, $0, &random).matrix
  }
  let adapter = try device.tensor(random.matrix(shape.output, shape.input))

  /// Every product of the rows in `range`.
  func products(_ range: Range<Int>) throws -> [(columns: Int, values: [Float])] {
    let backend = device.backend
    let x = try device.tensor(inputs[range])
    let dy = try device.tensor(outputs[range])
    var results: [(Int, [Float])] = []
    for weight in weights {
      let out = try device.empty(range.count, shape.output)
      try backend.linear(x, weight, bias: nil, out: out)
      results.append((shape.output, try device.floats(out)))
      for accumulate in [false, true] {
        let dx = try device.tensor(inputs[range])
        try backend.linearBackward(dy, weight, dx: dx, accumulate: accumulate)
        results.append((shape.input, try device.floats(dx)))
      }
    }
    for accumulate in [false, true] {
      let out = try device.tensor(outputs[range])
      try backend.matmulTransposed(x, adapter, scaling: 0.7, out: out, accumulate: accumulate)
      results.append((shape.output, try device.floats(out)))
      let dx = try device.tensor(inputs[range])
      try backend.matmul(dy, adapter, scaling: 0.7, out: dx, accumulate: accumulate)
      results.append((shape.input, try device.floats(dx)))
    }
    return results
  }

  let whole = try products(0..<rowCount)
  // All numbers of rows up to two blocks, each row in all places of a block, and larger numbers.
  let ranges =
    (1...97).map { count in count * 29 % 600..<count * 29 % 600 + count }
    + (0..<48).map { $0..<$0 + 48 } + [100..<303, 1..<481, 5..<560, 0..<699]
  for range in ranges {
    for (number, (result, all)) in zip(try products(range), whole).enumerated() {
      let expected = all.values[range.lowerBound * all.columns..<range.upperBound * all.columns]
      #expect(
        zip(result.values, expected).allSatisfy { $0.bitPattern == $1.bitPattern },
        "product \(number) of rows \(range), \(shape), \(precision), \(CPUBackend.instructionSet)")
    }
  }
}

/// Rows of random numbers.
private struct Rows {
  private let matrix: Matrix

  init(_ rows: Int, _ columns: Int, _ random: inout Random) {
    matrix = random.matrix(rows, columns)
  }

  subscript(range: Range<Int>) -> Matrix {
    let columns = matrix.columns
    return Matrix(
      range.count, columns,
      Array(matrix.values[range.lowerBound * columns..<range.upperBound * columns]))
  }
}
