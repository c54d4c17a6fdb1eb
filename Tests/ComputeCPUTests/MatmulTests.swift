import Compute
import ComputeCPU
import TestSupport
import Testing

/// Products with base and adapter matrices against double precision.
@Suite struct MatmulTests {
  struct Shape: Sendable, CustomTestStringConvertible {
    var tokens: Int
    var input: Int
    var output: Int
    var testDescription: String { "[\(tokens), \(input)] to \(output)" }
  }

  /// One element, one token, odd widths, and sizes beyond the tiles' 256 columns and 512 rows.
  static let shapes = [
    Shape(tokens: 1, input: 1, output: 1), Shape(tokens: 1, input: 64, output: 64),
    Shape(tokens: 3, input: 7, output: 5), Shape(tokens: 17, input: 33, output: 65),
    Shape(tokens: 32, input: 128, output: 256), Shape(tokens: 5, input: 64, output: 257),
    Shape(tokens: 33, input: 300, output: 129), Shape(tokens: 513, input: 70, output: 40),
    Shape(tokens: 545, input: 261, output: 259),
  ]

  @Test(arguments: shapes, BaseFormat.allCases)
  func baseProducts(_ shape: Shape, _ format: BaseFormat) throws {
    for precision in [Precision.float32, .bfloat16] {
      let device = TestDevice(CPUBackend(threadCount: 2, precision: precision))
      var random = Random(UInt64(shape.tokens * 1000 + shape.input))
      let weight = try device.base(shape.output, shape.input, format, &random)
      let x = random.matrix(shape.tokens, shape.input)
      let dy = random.matrix(shape.tokens, shape.output)
      let bias = random.matrix(1, shape.output)
      let before = random.matrix(shape.tokens, shape.input)
      // What the device multiplies: its rounding of the operands is part of the precision.
      let isRounded = precision == .bfloat16
      let w = isRounded ? weight.values.roundedToBFloat16 : weight.values
      let left = isRounded ? x.roundedToBFloat16 : x
      let leftBack = isRounded ? dy.roundedToBFloat16 : dy

      let product = left * w.transposed
      let out = try device.empty(shape.tokens, shape.output)
      try device.backend.linear(try device.tensor(x), weight.matrix, bias: nil, out: out)
      #expect(normalizedError(try device.matrix(out), product) < Tolerance.float32)
      if isRounded {
        // And it is near the exact product.
        let exact = x * weight.values.transposed
        #expect(normalizedError(try device.matrix(out), exact) < Tolerance.bfloat16)
      }

      let withBias = try device.empty(shape.tokens, shape.output)
      try device.backend.linear(
        try device.tensor(x), weight.matrix, bias: try device.tensor(bias), out: withBias)
      let expected = Matrix(
        shape.tokens, shape.output,
        product.values.enumerated().map { $1 + bias.values[$0 % shape.output] })
      #expect(normalizedError(try device.matrix(withBias), expected) < Tolerance.float32)

      let gradient = leftBack * w
      let dx = try device.empty(shape.tokens, shape.input)
      try device.backend.linearBackward(
        try device.tensor(dy), weight.matrix, dx: dx, accumulate: false)
      #expect(normalizedError(try device.matrix(dx), gradient) < Tolerance.float32)
      try device.backend.upload(before.floats, to: dx)
      try device.backend.linearBackward(
        try device.tensor(dy), weight.matrix, dx: dx, accumulate: true)
      #expect(normalizedError(try device.matrix(dx), gradient + before) < Tolerance.float32)
    }
  }

  @Test func noTokensIsNoWork() throws {
    let device = TestDevice(CPUBackend(threadCount: 2, precision: .bfloat16))
    var random = Random(3)
    let weight = try device.base(5, 7, .nf4, &random)
    let matrix = try device.tensor(random.matrix(5, 7))
    let (x, y) = (try device.empty(0, 7), try device.empty(0, 5))
    try device.backend.linear(x, weight.matrix, bias: nil, out: y)
    try device.backend.linearBackward(y, weight.matrix, dx: x, accumulate: false)
    try device.backend.matmulTransposed(x, matrix, scaling: 1, out: y, accumulate: false)
    try device.backend.matmul(y, matrix, scaling: 1, out: x, accumulate: false)
    let before = try device.floats(matrix)
    try device.backend.accumulateOuterProduct(y, x, scaling: 1, gradient: matrix)
    #expect(try device.floats(matrix) == before)
  }

  @Test func routerProductIsNeverRounded() throws {
    let device = TestDevice(CPUBackend(threadCount: 2, precision: .bfloat16))
    var random = Random(4)
    let weight = try device.base(8, 130, .float32, alwaysFloat32: true, &random)
    let x = random.matrix(21, 130)
    let out = try device.empty(21, 8)
    try device.backend.linear(try device.tensor(x), weight.matrix, bias: nil, out: out)
    #expect(
      normalizedError(try device.matrix(out), x * weight.values.transposed) < Tolerance.float32)
    let dx = try device.empty(21, 130)
    let dy = random.matrix(21, 8)
    try device.backend.linearBackward(
      try device.tensor(dy), weight.matrix, dx: dx, accumulate: false)
    #expect(normalizedError(try device.matrix(dx), dy * weight.values) < Tolerance.float32)
  }

  /// Tokens, width and rank; LoRA products in both directions and the parameter gradients.
  @Test(
    arguments: shapes + [
      Shape(tokens: 130, input: 257, output: 8), Shape(tokens: 513, input: 16, output: 300),
    ])
  func adapterProducts(_ shape: Shape) throws {
    let device = TestDevice(CPUBackend(threadCount: 2, precision: .bfloat16))
    var random = Random(UInt64(shape.tokens + shape.output))
    let x = random.matrix(shape.tokens, shape.input)
    let dy = random.matrix(shape.tokens, shape.output)
    let m = random.matrix(shape.output, shape.input)
    let scaling: Float = 0.75
    let s = Double(scaling)
    let matrix = try device.tensor(m)

    for accumulate in [false, true] {
      let y = random.matrix(shape.tokens, shape.output)
      let out = try device.tensor(accumulate ? y : y.map { _ in .nan })
      try device.backend.matmulTransposed(
        try device.tensor(x), matrix, scaling: scaling, out: out, accumulate: accumulate)
      let product = s * (x * m.transposed)
      #expect(
        normalizedError(try device.matrix(out), accumulate ? product + y : product)
          < Tolerance.float32)

      let z = random.matrix(shape.tokens, shape.input)
      let back = try device.tensor(accumulate ? z : z.map { _ in .nan })
      try device.backend.matmul(
        try device.tensor(dy), matrix, scaling: scaling, out: back, accumulate: accumulate)
      let gradient = s * (dy * m)
      #expect(
        normalizedError(try device.matrix(back), accumulate ? gradient + z : gradient)
          < Tolerance.float32)
    }

    let before = random.matrix(shape.output, shape.input)
    let gradient = try device.tensor(before)
    try device.backend.accumulateOuterProduct(
      try device.tensor(dy), try device.tensor(x), scaling: scaling, gradient: gradient)
    #expect(
      normalizedError(try device.matrix(gradient), before + s * (dy.transposed * x))
        < Tolerance.float32)
  }
}
