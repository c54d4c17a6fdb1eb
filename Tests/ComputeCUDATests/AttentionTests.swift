import Compute
import ComputeCUDA
import TestSupport
import Testing

/// Attention and its gradients on the emulated device against the CPU backend.
@Suite struct AttentionTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var heads = 2
    var keyHeads = 1
    var width = 16
    var window: Int?
    /// Lengths of the samples.
    var samples: [Int]
    /// Tokens before each sample that are cached.
    var cached = 0
    var testDescription: String { name }

    var shape: AttentionShape {
      var segments: [AttentionShape.Segment] = []
      var (query, key) = (0, 0)
      for length in samples {
        segments.append(
          .init(queries: query..<query + length, keys: key..<key + length + cached))
        query += length
        key += length + cached
      }
      return AttentionShape(
        queryHeads: heads, keyValueHeads: keyHeads, headWidth: width, slidingWindow: window,
        segments: segments)
    }
  }

  static let cases = [
    Case(name: "one token", samples: [1]),
    Case(name: "odd width", heads: 3, keyHeads: 3, width: 7, samples: [9, 1, 4]),
    Case(name: "an empty sample", samples: [4, 0, 3]),
    Case(name: "several samples and blocks", samples: [3, 70, 1, 17]),
    Case(name: "two blocks, all heads share a key", heads: 3, width: 32, samples: [65]),
    Case(name: "window of one", window: 1, samples: [6, 67]),
    Case(name: "window inside a block", window: 5, samples: [90, 3]),
    Case(name: "window beyond a block", heads: 1, window: 70, samples: [150]),
    Case(name: "width 64", heads: 2, width: 64, samples: [40]),
    Case(name: "width 80", heads: 1, width: 80, samples: [40]),
    Case(name: "width 128", heads: 1, width: 128, samples: [70]),
  ]
  static let cachedCases = [
    Case(name: "one new token", samples: [1], cached: 90),
    Case(name: "several new tokens", samples: [5, 2], cached: 70),
    Case(name: "cache and window", window: 9, samples: [1, 66], cached: 40),
  ]
  static let wide = Case(name: "width 136", heads: 1, width: 136, samples: [40])

  @Test(arguments: cases + cachedCases + [wide]) func float32(_ example: Case) throws {
    try compare(example, .float32, Tolerance.float32)
  }

  /// The device rounds queries, keys, values and probabilities; the CPU does not.
  @Test(arguments: cases + cachedCases) func bfloat16(_ example: Case) throws {
    try compare(example, .bfloat16, 4 * Tolerance.bfloat16)
  }

  private func compare(_ example: Case, _ precision: Precision, _ tolerance: Double) throws {
    let shape = example.shape
    let tokens = example.samples.reduce(0, +)
    let keys = shape.segments.last?.keys.upperBound ?? 0
    let (width, keyWidth) = (example.heads * example.width, example.keyHeads * example.width)
    // A token that sees itself alone has no choice: the gradients vanish but for rounding.
    let hasChoice = tokens > 1 && example.window != 1
    try Comparison(precision: precision).check(tolerance) { device, random in
      let q = try device.random(tokens, width, &random)
      let k = try device.random(keys, keyWidth, &random)
      let v = try device.random(keys, keyWidth, &random)
      let dout = try device.random(tokens, width, &random)
      let (out, logSumExp) = (
        try device.empty(tokens, width), try device.empty(example.heads, tokens)
      )
      try device.backend.attention(
        q: q, k: k, v: v, shape: shape, out: out, logSumExp: logSumExp)
      if example.cached > 0 { return try [out, logSumExp].map(device.floats) }
      let (dq, dk) = (try device.empty(tokens, width), try device.empty(tokens, keyWidth))
      let dv = try device.empty(tokens, keyWidth)
      try device.backend.attentionBackward(
        dout, q: q, k: k, v: v, out: out, logSumExp: logSumExp, shape: shape, dq: dq, dk: dk,
        dv: dv)
      return try ([out, logSumExp, dv] + (hasChoice ? [dq, dk] : [])).map(device.floats)
    }
  }

  @Test func largeScoresStayFinite() throws {
    for precision in [Precision.float32, .bfloat16] {
      let device = try Comparison(precision: precision).cuda
      let shape = Case(name: "", heads: 4, keyHeads: 2, samples: [20]).shape
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
      let device = try Comparison(precision: precision).cuda
      let shape = Case(name: "", heads: 4, keyHeads: 2, samples: [12]).shape
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
