import Compute
import ComputeCUDA
import TestSupport
import Testing

/// Matrix products and the formats of base weights.
@Suite struct ProductTests {
  /// One element, odd widths, and sizes beyond a tile and beyond a step of the depth.
  static let shapes = [(1, 1, 1), (3, 7, 5), (1, 64, 130), (70, 33, 65), (131, 100, 129)]

  @Test(arguments: shapes, [Precision.float32, .bfloat16])
  func base(_ shape: (T: Int, C: Int, N: Int), _ precision: Precision) throws {
    let (T, C, N) = shape
    let pair = try Comparison(precision: precision)
    for format in T > 1 && T < 100 ? BaseFormat.allCases : [.bfloat16, .nestedNF4] {
      try pair.check { device, random in
        let weight = try device.base(N, C, format, &random)
        let (x, dy) = (try device.random(T, C, &random), try device.random(T, N, &random))
        let bias = try device.random(1, N, &random)
        let (out, biased) = (try device.empty(T, N), try device.empty(T, N))
        let (dx, sum) = (try device.empty(T, C), try device.random(T, C, &random))
        try device.backend.linear(x, weight.matrix, bias: nil, out: out)
        try device.backend.linear(x, weight.matrix, bias: bias, out: biased)
        try device.backend.linearBackward(dy, weight.matrix, dx: dx, accumulate: false)
        try device.backend.linearBackward(dy, weight.matrix, dx: sum, accumulate: true)
        return try [out, biased, dx, sum].map(device.floats)
      }
    }
  }

  /// A router's products stay float32 in a bfloat16 run.
  @Test func routersAreExact() throws {
    try Comparison(precision: .bfloat16).check { device, random in
      let weight = try device.base(8, 40, .float32, alwaysFloat32: true, &random)
      let out = try device.empty(3, 8)
      try device.backend.linear(
        try device.random(3, 40, &random), weight.matrix, bias: nil, out: out)
      return [try device.floats(out)]
    }
  }

  @Test(arguments: shapes + [(1030, 5, 3)]) func adapters(_ shape: (T: Int, C: Int, N: Int)) throws
  {
    let (T, C, N) = shape
    try Comparison().check { device, random in
      let (x, y) = (try device.random(T, C, &random), try device.random(T, N, &random))
      let matrix = try device.random(N, C, &random)
      let (out, sum) = (try device.empty(T, N), try device.random(T, N, &random))
      let (back, backSum) = (try device.empty(T, C), try device.random(T, C, &random))
      let gradient = try device.random(N, C, &random)
      let backend = device.backend
      try backend.matmulTransposed(x, matrix, scaling: 0.5, out: out, accumulate: false)
      try backend.matmulTransposed(x, matrix, scaling: 2, out: sum, accumulate: true)
      try backend.matmul(y, matrix, scaling: 0.5, out: back, accumulate: false)
      try backend.matmul(y, matrix, scaling: 2, out: backSum, accumulate: true)
      try backend.accumulateOuterProduct(y, x, scaling: 0.7, gradient: gradient)
      return try [out, sum, back, backSum, gradient].map(device.floats)
    }
  }

  @Test func noTokensIsNoWork() throws {
    for precision in [Precision.float32, .bfloat16] {
      let device = try Comparison(precision: precision).cuda
      var random = Random(3)
      let weight = try device.base(5, 7, .nf4, &random)
      let (x, y) = (try device.empty(0, 7), try device.empty(0, 5))
      let gradient = try device.random(5, 7, &random)
      let before = try device.floats(gradient)
      try device.backend.linear(x, weight.matrix, bias: nil, out: y)
      try device.backend.linearBackward(y, weight.matrix, dx: x, accumulate: false)
      try device.backend.accumulateOuterProduct(y, x, scaling: 1, gradient: gradient)
      #expect(try device.floats(gradient) == before)
    }
  }

  /// Codes and scales have the CPU's bits, which are those of bitsandbytes.
  @Test(arguments: [1, 63, 64, 65, 1000, 20_001]) func quantization(_ count: Int) throws {
    try Comparison().check(0) { device, random in
      var values = random.matrix(1, count)
      // A block of zeros, and values on the bounds between codes.
      for i in 0..<min(64, count) where count > 200 { values.values[i] = 0 }
      for i in 64..<max(64, min(79, count - 1)) {
        values.values[i] = Double((NF4.values[i - 64] + NF4.values[i - 63]) / 2)
      }
      let codes = try device.emptyBytes(NF4.codeByteCount(count))
      let absmax = try device.empty(1, NF4.blockCount(count))
      try device.backend.quantizeNF4(try device.tensor(values), codes: codes, absmax: absmax)
      let scaleCodes = try device.emptyBytes(absmax.count)
      let nested = try device.empty(1, NF4.nestedBlockCount(count))
      try device.backend.quantizeScales(
        absmax, offset: 1.25, codes: scaleCodes, nestedAbsmax: nested)
      return try [codes, absmax, scaleCodes, nested].map(device.numbers)
    }
  }

  /// Elements of the file's type are quantized, and looked at, as the CPU does it.
  @Test(arguments: [ElementType.bfloat16, .float16]) func halves(_ type: ElementType) throws {
    for (count, last) in [(1, UInt8(0x3F)), (100, 0x3F), (3000, 0x3F), (3000, 0x7F), (70, 0xFF)] {
      try Comparison().check(0) { device, random in
        var bytes = (0..<2 * count).map { _ in UInt8.random(in: 0..<0x60, using: &random) }
        bytes[bytes.count - 1] = last
        bytes[bytes.count - 2] = 0x80
        let x = try device.tensor(bytes: bytes, rows: 1, columns: count, type)
        let isFinite = try device.backend.isFinite(x)
        #expect(isFinite == (last == 0x3F))
        guard isFinite else { return [] }
        let codes = try device.emptyBytes(NF4.codeByteCount(count))
        let absmax = try device.empty(1, NF4.blockCount(count))
        try device.backend.quantizeNF4(x, codes: codes, absmax: absmax)
        return try [codes, absmax].map(device.numbers)
      }
    }
  }

  @Test(arguments: BaseFormat.allCases) func decode(_ format: BaseFormat) throws {
    for (rows, columns) in [(1, 1), (3, 7), (5, 64), (3, 100), (70, 256)] {
      try Comparison().check(0) { device, random in
        let sample = try device.base(rows, columns, format, &random)
        let out = try device.empty(rows, columns)
        try device.backend.decode(sample.matrix, out: out)
        return [try device.floats(out)]
      }
    }
  }
}
