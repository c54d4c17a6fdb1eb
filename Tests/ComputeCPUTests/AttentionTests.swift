import Compute
import ComputeCPU
import TestSupport
import Testing

/// Attention and its gradients against double precision.
@Suite struct AttentionTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var queryHeads = 4
    var keyValueHeads = 2
    var headWidth = 16
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
        queryHeads: queryHeads, keyValueHeads: keyValueHeads, headWidth: headWidth,
        slidingWindow: window, segments: segments)
    }
  }

  static let cases = [
    Case(name: "one token", samples: [1]),
    Case(
      name: "one head, one channel", queryHeads: 1, keyValueHeads: 1, headWidth: 1, samples: [5]),
    Case(name: "odd width", queryHeads: 3, keyValueHeads: 3, headWidth: 7, samples: [9, 1, 4]),
    Case(name: "an empty sample", samples: [4, 0, 3]),
    Case(name: "one block", samples: [64]),
    Case(name: "two blocks", samples: [65]),
    Case(name: "many samples", samples: [3, 70, 1, 129, 17]),
    Case(name: "all heads share a key", queryHeads: 6, keyValueHeads: 1, samples: [31, 33]),
    Case(name: "window of one", window: 1, samples: [6, 67]),
    Case(name: "window inside a block", window: 5, samples: [130, 3]),
    Case(name: "window beyond a block", window: 70, samples: [200]),
    Case(name: "window beyond the sample", window: 500, samples: [66]),
    Case(name: "wide head", queryHeads: 2, keyValueHeads: 1, headWidth: 136, samples: [100]),
  ]
  static let cachedCases = [
    Case(name: "one new token", samples: [1], cached: 90),
    Case(name: "several new tokens", samples: [5, 2], cached: 70),
    Case(name: "new blocks", samples: [70], cached: 13),
    Case(name: "cache and window", window: 9, samples: [1, 66], cached: 40),
  ]

  let device = TestDevice(CPUBackend(threadCount: 2))

  @Test(arguments: cases + cachedCases) func forward(_ example: Case) throws {
    let shape = example.shape
    let tokens = example.samples.reduce(0, +)
    let keys = shape.segments.last?.keys.upperBound ?? 0
    var random = Random(UInt64(tokens))
    let q = random.matrix(tokens, example.queryHeads * example.headWidth, scale: 2)
    let k = random.matrix(keys, example.keyValueHeads * example.headWidth)
    let v = random.matrix(keys, example.keyValueHeads * example.headWidth)
    let out = try device.empty(tokens, q.columns)
    let logSumExp = try device.empty(example.queryHeads, tokens)
    try device.backend.attention(
      q: try device.tensor(q), k: try device.tensor(k), v: try device.tensor(v), shape: shape,
      out: out, logSumExp: logSumExp)
    let expected = Reference.attention(q, k, v, shape)
    #expect(normalizedError(try device.matrix(out), expected.out) < Tolerance.float32)
    #expect(normalizedError(try device.matrix(logSumExp), expected.logSumExp) < Tolerance.float32)
  }

  @Test(arguments: cases) func backward(_ example: Case) throws {
    let shape = example.shape
    let tokens = example.samples.reduce(0, +)
    let width = example.queryHeads * example.headWidth
    let keyWidth = example.keyValueHeads * example.headWidth
    var random = Random(UInt64(tokens + 1))
    let q = random.matrix(tokens, width)
    let k = random.matrix(tokens, keyWidth)
    let v = random.matrix(tokens, keyWidth)
    let dout = random.matrix(tokens, width)
    let tensors = (try device.tensor(q), try device.tensor(k), try device.tensor(v))
    let out = try device.empty(tokens, width)
    let logSumExp = try device.empty(example.queryHeads, tokens)
    try device.backend.attention(
      q: tensors.0, k: tensors.1, v: tensors.2, shape: shape, out: out, logSumExp: logSumExp)
    let dq = try device.empty(tokens, width)
    let dk = try device.empty(tokens, keyWidth)
    let dv = try device.empty(tokens, keyWidth)
    try device.backend.attentionBackward(
      try device.tensor(dout), q: tensors.0, k: tensors.1, v: tensors.2, out: out,
      logSumExp: logSumExp, shape: shape, dq: dq, dk: dk, dv: dv)
    try expectGradient(try device.matrix(dv), at: v, &random) {
      Reference.attention(q, k, $0, shape).out.dot(dout)
    }
    if example.window == 1 || tokens == 1 {
      // A token that sees itself alone has no choice: the gradients vanish.
      #expect(try device.matrix(dq).values.allSatisfy { abs($0) < 1e-4 })
      #expect(try device.matrix(dk).values.allSatisfy { abs($0) < 1e-4 })
      return
    }
    try expectGradient(try device.matrix(dq), at: q, &random) {
      Reference.attention($0, k, v, shape).out.dot(dout)
    }
    try expectGradient(try device.matrix(dk), at: k, &random) {
      Reference.attention(q, $0, v, shape).out.dot(dout)
    }
  }

  @Test func largeScoresStayFinite() throws {
    let shape = Case(name: "", samples: [20]).shape
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

  @Test func notANumberIsNotHidden() throws {
    let shape = Case(name: "", samples: [12]).shape
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
