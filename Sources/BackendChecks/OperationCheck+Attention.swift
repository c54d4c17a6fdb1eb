internal import Compute

/// Samples of one attention.
private struct AttentionCase {
  var name: String
  var heads = 2
  var keyHeads = 1
  var window: Int?
  /// Lengths of the samples.
  var samples: [Int]
  /// Tokens before each sample that are cached.
  var cached = 0

  func shape(width: Int) -> AttentionShape {
    var segments: [AttentionShape.Segment] = []
    var (query, key) = (0, 0)
    for length in samples {
      segments.append(.init(queries: query..<query + length, keys: key..<key + length + cached))
      query += length
      key += length + cached
    }
    return AttentionShape(
      queryHeads: heads, keyValueHeads: keyHeads, headWidth: width, slidingWindow: window,
      segments: segments)
  }

  func run(_ device: OperationInputs, width: Int) throws -> [Tensor] {
    let shape = shape(width: width)
    let tokens = samples.reduce(0, +)
    let keys = shape.segments.last?.keys.upperBound ?? 0
    let (columns, keyColumns) = (heads * width, keyHeads * width)
    let q = try device.random(tokens, columns)
    let (k, v) = (try device.random(keys, keyColumns), try device.random(keys, keyColumns))
    let dout = try device.random(tokens, columns)
    let (out, logSumExp) = (try device.empty(tokens, columns), try device.empty(heads, tokens))
    try device.backend.attention(q: q, k: k, v: v, shape: shape, out: out, logSumExp: logSumExp)
    if cached > 0 { return [out, logSumExp] }
    let (dq, dk) = (try device.empty(tokens, columns), try device.empty(tokens, keyColumns))
    let dv = try device.empty(tokens, keyColumns)
    try device.backend.attentionBackward(
      dout, q: q, k: k, v: v, out: out, logSumExp: logSumExp, shape: shape, dq: dq, dk: dk, dv: dv)
    // A token alone has one score, which may be near zero, and no choice: gradients vanish but for
    // rounding.
    return [out, dv] + (tokens > 1 ? [logSumExp] : [])
      + (tokens > 1 && window != 1 ? [dq, dk] : [])
  }
}

extension OperationCheck {
  /// For every width: one token, several samples and blocks, all heads on one key, windows, and
  /// earlier tokens cached.
  private static let everyWidth = [
    AttentionCase(name: "one token", samples: [1]),
    AttentionCase(name: "several samples and blocks", samples: [3, 70, 1]),
    AttentionCase(name: "3 heads on one key, a window", heads: 3, window: 5, samples: [66, 3]),
    AttentionCase(name: "each head its key", heads: 2, keyHeads: 2, samples: [9]),
    AttentionCase(name: "cached tokens and a window", window: 9, samples: [1, 5], cached: 70),
  ]
  private static let narrow = [
    AttentionCase(name: "an empty sample", samples: [4, 0, 3]),
    AttentionCase(name: "window of one", window: 1, samples: [6, 67]),
    AttentionCase(name: "window beyond a block", heads: 1, window: 70, samples: [150]),
    AttentionCase(name: "several new tokens", samples: [1, 66], cached: 40),
  ]

  static let attention: [OperationCheck] =
    [Precision.float32, .bfloat16].flatMap { precision in
      // Up to 32 channels, an odd number, the usual ones, and one between them.
      [7, 16, 64, 80, 96, 128].map { width in
        OperationCheck(
          "attention and its gradients, heads of \(width)",
          precision == .float32 ? .float32 : .rounding, precision: precision,
          (everyWidth + (width == 16 ? narrow : [])).map { example in
            Case(example.name) { try example.run($0, width: width) }
          })
      }
    } + [
      OperationCheck(
        "attention and its gradients, heads of 136", .float32,
        [
          Case("40 tokens") {
            try AttentionCase(name: "", heads: 1, samples: [40]).run($0, width: 136)
          }
        ])
    ]
}
