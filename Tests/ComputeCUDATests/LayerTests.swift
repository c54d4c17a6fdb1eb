import Compute
import ComputeCUDA
import TestSupport
import Testing

/// Layers, optimizer and loss: the kernels on the emulated device against the CPU backend.
@Suite struct LayerTests {
  let pair: Comparison
  init() throws { pair = try Comparison() }

  /// One element, odd widths, whole vectors, more than one block.
  static let shapes = [(1, 1), (1, 64), (3, 7), (5, 130), (2, 1028), (70, 33)]

  @Test(arguments: shapes) func elementwise(_ T: Int, _ C: Int) throws {
    try pair.check { device, random in
      let (x, y) = (try device.random(T, C, &random), try device.random(T, C, &random))
      let (gate, up) = (try device.random(T, C, &random), try device.random(T, C, &random))
      let out = try device.empty(T, C)
      try device.backend.add(x, to: y)
      try device.backend.scale(x, by: 0.3)
      try device.backend.swiGLU(gate: gate, up: up, out: out)
      // In place, as the layers use it.
      try device.backend.swiGLUBackward(y, gate: gate, up: up, dgate: gate, dup: up)
      return try [x, y, gate, up, out].map(device.floats)
    }
  }

  @Test(arguments: shapes) func normalization(_ T: Int, _ C: Int) throws {
    try pair.check { device, random in
      let (x, dy) = (try device.random(T, C, &random), try device.random(T, C, &random))
      let (weight, dx) = (try device.random(1, C, &random), try device.random(T, C, &random))
      let (out, reciprocals) = (try device.empty(T, C), try device.empty(1, T))
      try device.backend.rmsNorm(
        x, weight: weight, epsilon: 1e-5, out: out, reciprocalRMS: reciprocals)
      try device.backend.rmsNormBackward(
        dy, x: x, weight: weight, reciprocalRMS: reciprocals, dx: dx)
      return try [out, reciprocals, dx].map(device.floats)
    }
  }

  @Test(arguments: [(1, 1, 2), (5, 3, 14), (9, 2, 64)])
  func rotary(_ T: Int, _ heads: Int, _ D: Int) throws {
    for inverse in [false, true] {
      try pair.check { device, random in
        let x = try device.random(T, heads * D, &random)
        let positions = try device.tensor(random.integers(T, below: 11))
        let table = try device.random(22, D / 2, &random)
        try device.backend.rotary(
          x, positions: positions, table: table, headWidth: D, inverse: inverse)
        return [try device.floats(x)]
      }
    }
  }

  /// The masks are the CPU's, bit for bit.
  @Test(arguments: [(1, 1), (3, 7), (4, 64), (2, 517)]) func dropout(_ T: Int, _ C: Int) throws {
    for rate: Float in [0.1, 0.5] {
      try pair.check(0) { device, random in
        let (x, dx) = (try device.random(T, C, &random), try device.random(T, C, &random))
        let tokens = try device.tensor(random.integers(2 * T, below: 1000), rows: T)
        let key = DropoutKey(seed: 0x1234_5678_9ABC, step: 12, layer: 3, input: 5, rate: rate)
        let out = try device.empty(T, C)
        try device.backend.dropout(x, tokens: tokens, key: key, out: out)
        try device.backend.dropoutBackward(x, tokens: tokens, key: key, dx: dx)
        return try [out, dx].map(device.floats)
      }
    }
  }

  @Test(arguments: [(1, 1), (3, 2), (5, 515), (2, 2050)])
  func crossEntropy(_ n: Int, _ V: Int) throws {
    for scale: Float? in [nil, 0.25] {
      try pair.check { device, random in
        let logits = try device.random(n, V, &random, scale: 4)
        let targets = try device.tensor(random.integers(n, below: V))
        let losses = try device.empty(1, n)
        try device.backend.crossEntropy(
          logits: logits, targets: targets, losses: losses, gradientScale: scale)
        // The loss of one class is zero, which has no relative error.
        return try (V == 1 ? [losses] : [logits, losses]).map(device.floats)
      }
    }
  }

  @Test func rowsByIndex() throws {
    for C in [1, 3, 8] {
      try pair.check(0) { device, random in
        let x = try device.random(6, C, &random)
        let rows = try device.tensor([5, 0, 3])
        let (out, placed) = (try device.empty(3, C), try device.random(6, C, &random))
        try device.backend.selectRows(x, rows: rows, out: out)
        try device.backend.placeRows(out, rows: rows, out: placed)
        return try [out, placed].map(device.floats)
      }
    }
  }

  @Test(arguments: [1, 5, 256, 1000]) func argmax(_ V: Int) throws {
    try pair.check(0) { device, random in
      // Few different values: most maxima are shared, and the lowest index wins.
      let x = Matrix(4, V, random.integers(4 * V, below: 3).map { Double($0) })
      let out = try device.tensor([Int32](repeating: -1, count: 4))
      try device.backend.argmax(try device.tensor(x), out: out)
      return [try device.numbers(out)]
    }
  }

  @Test(arguments: [1, 100, 1000]) func optimizer(_ count: Int) throws {
    try pair.check { device, random in
      let tensors = try (0..<3).map { _ in try device.random(1, count, &random) }
      let second = try device.tensor(random.matrix(1, count).map { $0 * $0 })
      let sums = try device.backend.sumsOfSquares(tensors[1], blockSize: 64).map { Float($0) }
      try device.backend.adamW(
        weights: tensors[0], gradients: tensors[1], firstMoment: tensors[2], secondMoment: second,
        update: AdamWUpdate(
          learningRate: 1e-2, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1,
          biasCorrection1: 0.3, biasCorrection2: 0.05, gradientScale: 0.7))
      return try (tensors + [second]).map(device.floats) + [sums]
    }
  }

  @Test(arguments: BaseFormat.allCases) func embedding(_ format: BaseFormat) throws {
    for C in [1, 40, 64, 200] {
      try pair.check(0) { device, random in
        let table = try device.base(9, C, format, &random)
        let out = try device.empty(4, C)
        try device.backend.embedding(try device.tensor([8, 0, 3, 3]), table.matrix, out: out)
        return [try device.floats(out)]
      }
    }
  }
}
