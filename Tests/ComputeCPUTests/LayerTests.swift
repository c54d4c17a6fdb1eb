import Compute
import ComputeCPU
import TestSupport
import Testing

/// Norms, embeddings, rotations, activations and elementwise operations.
@Suite struct LayerTests {
  let device = TestDevice(CPUBackend(threadCount: 2))

  /// One row, odd widths, and enough rows for several chunks.
  static let shapes = [(1, 3), (1, 64), (3, 7), (33, 65), (300, 128), (5, 20_001)]

  @Test(arguments: shapes) func rmsNorm(_ rows: Int, _ columns: Int) throws {
    var random = Random(UInt64(rows + columns))
    let x = random.matrix(rows, columns, scale: 2)
    let weight = random.matrix(1, columns)
    let dy = random.matrix(rows, columns)
    let epsilon = Double(Float(1e-5))
    let out = try device.empty(rows, columns)
    let reciprocals = try device.empty(1, rows)
    try device.backend.rmsNorm(
      try device.tensor(x), weight: try device.tensor(weight), epsilon: 1e-5, out: out,
      reciprocalRMS: reciprocals)
    let expected = Reference.rmsNorm(x, weight: weight, epsilon: epsilon)
    #expect(normalizedError(try device.matrix(out), expected) < Tolerance.float32)
    let roots = Matrix(1, rows, (0..<rows).map { Reference.reciprocalRMS(x, $0, epsilon) })
    #expect(normalizedError(try device.matrix(reciprocals), roots) < Tolerance.float32)

    // The gradient adds to what the residual stream holds.
    let before = random.matrix(rows, columns)
    let dx = try device.tensor(before)
    try device.backend.rmsNormBackward(
      try device.tensor(dy), x: try device.tensor(x), weight: try device.tensor(weight),
      reciprocalRMS: reciprocals, dx: dx)
    let gradient = try device.matrix(dx) + (-1) * before
    try expectGradient(gradient, at: x, &random) {
      Reference.rmsNorm($0, weight: weight, epsilon: epsilon).dot(dy)
    }
    let error = normalizedError(
      gradient, rmsNormGradient(dy, x, weight, epsilon))
    #expect(error < 1e-11)
  }

  /// The derivative of `x r w` with `r = (mean x^2 + epsilon)^(-1/2)`.
  private func rmsNormGradient(_ dy: Matrix, _ x: Matrix, _ weight: Matrix, _ epsilon: Double)
    -> Matrix
  {
    var dx = x
    for t in 0..<x.rows {
      let r = Reference.reciprocalRMS(x, t, epsilon)
      let sum = (0..<x.columns).reduce(0.0) { $0 + dy[t, $1] * weight[0, $1] * x[t, $1] }
      for c in 0..<x.columns {
        dx[t, c] = r * dy[t, c] * weight[0, c] - x[t, c] * r * r * r * sum / Double(x.columns)
      }
    }
    return dx
  }

  @Test(arguments: [(1, 1, 2), (3, 2, 8), (70, 4, 10), (41, 3, 64)])
  func rotary(_ tokens: Int, _ heads: Int, _ headWidth: Int) throws {
    var random = Random(UInt64(tokens))
    let x = random.matrix(tokens, heads * headWidth)
    let table = random.matrix(2 * 50, headWidth / 2)
    let positions = random.integers(tokens, below: 50)
    for inverse in [false, true] {
      let y = try device.tensor(x)
      try device.backend.rotary(
        y, positions: try device.tensor(positions), table: try device.tensor(table),
        headWidth: headWidth, inverse: inverse)
      let expected = Reference.rotary(
        x, positions: positions, table: table, headWidth: headWidth, inverse: inverse)
      #expect(normalizedError(try device.matrix(y), expected) < Tolerance.float32)
    }
    // The inverse is the transpose: <R u, v> = <u, R' v>.
    let v = random.matrix(tokens, heads * headWidth)
    func turned(_ x: Matrix, _ inverse: Bool) -> Matrix {
      Reference.rotary(
        x, positions: positions, table: table, headWidth: headWidth, inverse: inverse)
    }
    #expect(abs(turned(x, false).dot(v) - x.dot(turned(v, true))) < 1e-9 * Double(x.values.count))
  }

  @Test(arguments: shapes) func swiGLU(_ rows: Int, _ columns: Int) throws {
    var random = Random(UInt64(rows * 7 + columns))
    let gate = random.matrix(rows, columns, scale: 3)
    let up = random.matrix(rows, columns)
    let dout = random.matrix(rows, columns)
    let out = try device.empty(rows, columns)
    try device.backend.swiGLU(
      gate: try device.tensor(gate), up: try device.tensor(up), out: out)
    #expect(
      normalizedError(try device.matrix(out), Reference.swiGLU(gate, up)) < Tolerance.float32)

    // In place, as the layers use it.
    let (dgate, dup) = (try device.tensor(gate), try device.tensor(up))
    try device.backend.swiGLUBackward(
      try device.tensor(dout), gate: dgate, up: dup, dgate: dgate, dup: dup)
    try expectGradient(try device.matrix(dgate), at: gate, &random) {
      Reference.swiGLU($0, up).dot(dout)
    }
    try expectGradient(try device.matrix(dup), at: up, &random) {
      Reference.swiGLU(gate, $0).dot(dout)
    }
    let silus = gate.map(Reference.silu)
    #expect(
      normalizedError(
        try device.matrix(dup).values, zip(silus.values, dout.values).map { $0 * $1 })
        < Tolerance.float32)
  }

  @Test func extremeGatesStayFinite() throws {
    let gate = Matrix(1, 6, [-1e30, -200, -0.0, 0, 200, 1e30].map { Float($0) })
    let out = try device.empty(1, 6)
    let ones = try device.tensor(Matrix(1, 6, repeating: 1))
    try device.backend.swiGLU(gate: try device.tensor(gate), up: ones, out: out)
    let values = try device.floats(out)
    #expect(values[0] <= 0 && abs(values[0]) < 1e-6 && abs(values[1]) < 1e-30)
    #expect(values[2] == 0 && values[3] == 0)
    #expect(values[4] == 200 && values[5] == 1e30)
  }

  @Test func notANumberSpreads() throws {
    var values = [Double](repeating: 1, count: 20)
    values[3] = .nan
    values[17] = .nan
    let x = try device.tensor(Matrix(1, 20, values))
    let out = try device.empty(1, 20)
    try device.backend.swiGLU(gate: x, up: try device.tensor(Matrix(1, 20, repeating: 1)), out: out)
    #expect(try device.floats(out).map(\.isNaN) == values.map(\.isNaN))
    let losses = try device.empty(1, 1)
    try device.backend.crossEntropy(
      logits: x, targets: try device.tensor([Int32(0)]), losses: losses, gradientScale: nil)
    #expect(try device.floats(losses)[0].isNaN)
  }

  @Test(arguments: BaseFormat.allCases) func embeddingAndDecode(_ format: BaseFormat) throws {
    for (vocabulary, width, tokens) in [(5, 7, 1), (11, 65, 9), (300, 100, 700)] {
      var random = Random(UInt64(width))
      let table = try device.base(vocabulary, width, format, &random)
      let decoded = try device.empty(vocabulary, width)
      try device.backend.decode(table.matrix, out: decoded)
      #expect(try device.floats(decoded) == table.values.floats)

      let ids = random.integers(tokens, below: vocabulary)
      let out = try device.empty(tokens, width)
      try device.backend.embedding(try device.tensor(ids), table.matrix, out: out)
      let expected = ids.flatMap { id in (0..<width).map { Float(table.values[Int(id), $0]) } }
      #expect(try device.floats(out) == expected)
    }
  }

  @Test func memoryOperations() throws {
    var random = Random(9)
    for count in [1, 7, 16_385, 300_001] {
      let (x, y) = (random.matrix(1, count), random.matrix(1, count))
      let (a, b) = (try device.tensor(x), try device.tensor(y))
      try device.backend.add(a, to: b)
      #expect(try device.floats(b) == zip(x.floats, y.floats).map { $0 + $1 })
      try device.backend.scale(b, by: -0.5)
      #expect(try device.floats(b) == zip(x.floats, y.floats).map { ($0 + $1) * -0.5 })
      try device.backend.copy(a, to: b)
      #expect(try device.floats(b) == x.floats)
      try device.backend.zero(b)
      #expect(try device.floats(b) == [Float](repeating: 0, count: count))
    }
  }

  @Test func rowsAreSelectedAndPlaced() throws {
    var random = Random(10)
    let x = random.matrix(40, 515)
    let rows: [Int32] = [39, 0, 7, 7, 12]
    let selected = try device.empty(5, 515)
    try device.backend.selectRows(
      try device.tensor(x), rows: try device.tensor(rows), out: selected)
    let expected = rows.flatMap { row in (0..<515).map { Float(x[Int(row), $0]) } }
    #expect(try device.floats(selected) == expected)

    let bytes = try device.tensor(bytes: (0..<12).map { UInt8($0) }, rows: 3, columns: 2, .bfloat16)
    let out = try device.tensor(bytes: [0, 0, 0, 0], rows: 1, columns: 2, .bfloat16)
    try device.backend.selectRows(bytes, rows: try device.tensor([Int32(2)]), out: out)
    #expect(try device.bytes(out) == [8, 9, 10, 11])

    let destination = try device.tensor(x)
    let places: [Int32] = [3, 38]
    let two = random.matrix(2, 515)
    try device.backend.placeRows(
      try device.tensor(two), rows: try device.tensor(places), out: destination)
    var placed = x
    for (i, row) in places.enumerated() { for c in 0..<515 { placed[Int(row), c] = two[i, c] } }
    #expect(try device.floats(destination) == placed.floats)
  }
}

/// Expects a device's gradient to agree with central differences of the reference: along random
/// directions, and element by element where there are few.
func expectGradient(
  _ gradient: Matrix, at x: Matrix, _ random: inout Random, tolerance: Double = 2e-5,
  sourceLocation: SourceLocation = #_sourceLocation, _ function: (Matrix) -> Double
) throws {
  let size = gradient.dot(gradient).squareRoot()
  for _ in 0..<4 {
    let direction = random.matrix(x.rows, x.columns)
    let slope = directionalDerivative(at: x, along: direction, step: 1e-6, function)
    let difference = abs(slope - gradient.dot(direction))
    #expect(difference <= tolerance * max(size, 1e-9), sourceLocation: sourceLocation)
  }
  if x.values.count <= 512 {
    let numerical = numericalGradient(at: x, function)
    #expect(normalizedError(gradient, numerical) < 1e-9, sourceLocation: sourceLocation)
  }
}
