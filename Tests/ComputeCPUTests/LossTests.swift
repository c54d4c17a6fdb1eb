import Compute
import ComputeCPU
import TestSupport
import Testing

/// Cross-entropy, argmax, sums of squares and AdamW.
@Suite struct LossTests {
  let device = TestDevice(CPUBackend(threadCount: 2))

  /// One class, odd widths, and vocabularies beyond the 1024 elements of a partial sum.
  @Test(arguments: [(1, 1), (1, 2), (3, 7), (40, 33), (5, 1025), (3, 32_003)])
  func crossEntropy(_ rows: Int, _ vocabulary: Int) throws {
    var random = Random(UInt64(rows + vocabulary))
    let logits = random.matrix(rows, vocabulary, scale: 5)
    var targets = random.integers(rows, below: vocabulary)
    targets[0] = Int32(vocabulary - 1)
    let expected = Reference.crossEntropy(logits, targets)
    let tensor = try device.tensor(logits)
    let losses = try device.empty(1, rows)
    try device.backend.crossEntropy(
      logits: tensor, targets: try device.tensor(targets), losses: losses, gradientScale: nil)
    #expect(try device.floats(tensor) == logits.floats)
    let alone = try device.floats(losses)
    if vocabulary == 1 {
      #expect(alone == [0])
    } else {
      #expect(normalizedError(try device.matrix(losses), expected) < Tolerance.float32)
    }

    let scale = 0.125
    try device.backend.crossEntropy(
      logits: tensor, targets: try device.tensor(targets), losses: losses, gradientScale: 0.125)
    #expect(try device.floats(losses) == alone)
    let gradient = try device.matrix(tensor)
    var formula = scale * Reference.softmax(logits)
    for (i, target) in targets.enumerated() { formula[i, Int(target)] -= scale }
    #expect(zip(gradient.values, formula.values).allSatisfy { abs($0 - $1) < 1e-6 * scale })
    if vocabulary > 1 {
      try expectGradient(gradient, at: logits, &random) {
        scale * Reference.crossEntropy($0, targets).values.reduce(0, +)
      }
    }
  }

  @Test func extremeLogits() throws {
    let logits = Matrix(3, 9, (0..<27).map { $0 == 4 ? 3e4 : $0 == 14 ? -3e4 : 1 })
    let losses = try device.empty(1, 3)
    try device.backend.crossEntropy(
      logits: try device.tensor(logits), targets: try device.tensor([4, 5, 0] as [Int32]),
      losses: losses, gradientScale: nil)
    let expected = Reference.crossEntropy(logits, [4, 5, 0])
    for (loss, reference) in zip(try device.floats(losses), expected.values) {
      #expect(abs(Double(loss) - reference) <= 1e-6 * max(1, reference))
    }
  }

  @Test func argmaxTakesTheLowestOfEquals() throws {
    var random = Random(5)
    var x = random.matrix(70, 1031)
    for c in 0..<1031 { x[3, c] = -1 }
    x[4, 1030] = 100
    x[5, 17] = 50
    x[5, 900] = 50
    let out = try device.tensor([Int32](repeating: -1, count: 70))
    try device.backend.argmax(try device.tensor(x), out: out)
    let expected = (0..<70).map { t in
      Int32((0..<1031).reduce(0) { x[t, $1] > x[t, $0] ? $1 : $0 })
    }
    #expect(try device.integers(out) == expected)
    #expect(expected[3...5] == [0, 1030, 17])
  }

  @Test(arguments: [(1, 4), (64, 64), (1000, 64), (70_001, 16_384), (3, 100)])
  func sumsOfSquares(_ count: Int, _ blockSize: Int) throws {
    var random = Random(UInt64(count))
    let x = random.matrix(1, count)
    let sums = try device.backend.sumsOfSquares(try device.tensor(x), blockSize: blockSize)
    let expected = stride(from: 0, to: count, by: blockSize).map { first in
      x.values[first..<min(count, first + blockSize)].reduce(0) { $0 + $1 * $1 }
    }
    #expect(sums.count == expected.count)
    #expect(zip(sums, expected).allSatisfy { abs($0 - $1) <= 1e-13 * $1 })
    #expect(try device.backend.sumsOfSquares(try device.tensor(Matrix(1, 0)), blockSize: 4) == [])
  }

  /// Twenty steps of torch's formula in double precision, with decay and clipping.
  @Test(arguments: [1, 7, 20_003], [0, 0.1]) func adamW(_ count: Int, _ decay: Double) throws {
    var random = Random(UInt64(count))
    let (rate, beta1, beta2, epsilon, clip) = (1e-2, 0.9, 0.999, 1e-8, 0.5)
    var w = random.matrix(1, count)
    var m = Matrix(1, count)
    var v = Matrix(1, count)
    let tensors = (try device.tensor(w), try device.tensor(m), try device.tensor(v))
    for step in 1...20 {
      let gradients = random.matrix(1, count)
      let correction1 = 1 - power(beta1, step)
      let correction2 = 1 - power(beta2, step)
      let gradientTensor = try device.tensor(gradients)
      try device.backend.adamW(
        weights: tensors.0, gradients: gradientTensor, firstMoment: tensors.1,
        secondMoment: tensors.2,
        update: AdamWUpdate(
          learningRate: rate, beta1: beta1, beta2: beta2, epsilon: epsilon, weightDecay: decay,
          biasCorrection1: correction1, biasCorrection2: correction2, gradientScale: clip))
      #expect(try device.floats(gradientTensor) == gradients.floats)
      for i in 0..<count {
        let g = gradients.values[i] * clip
        w.values[i] *= 1 - rate * decay
        m.values[i] = beta1 * m.values[i] + (1 - beta1) * g
        v.values[i] = beta2 * v.values[i] + (1 - beta2) * g * g
        let denominator = v.values[i].squareRoot() / correction2.squareRoot() + epsilon
        w.values[i] -= rate / correction1 * m.values[i] / denominator
      }
    }
    #expect(normalizedError(try device.matrix(tensors.0), w) < Tolerance.float32)
    #expect(normalizedError(try device.matrix(tensors.1), m) < Tolerance.float32)
    #expect(normalizedError(try device.matrix(tensors.2), v) < Tolerance.float32)
  }

  @Test func firstStepMovesByTheRate() throws {
    // With a gradient far above epsilon the first update is rate * sign(g).
    let w = try device.tensor(Matrix(1, 3, [1.0, 1.0, 1.0]))
    let zero = { try device.tensor(Matrix(1, 3)) }
    try device.backend.adamW(
      weights: w, gradients: try device.tensor(Matrix(1, 3, [3.0, -0.5, 0.0])),
      firstMoment: try zero(), secondMoment: try zero(),
      update: AdamWUpdate(
        learningRate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0,
        biasCorrection1: 0.1, biasCorrection2: 0.001, gradientScale: 1))
    let values = try device.floats(w)
    #expect(abs(values[0] - 0.99) < 1e-6 && abs(values[1] - 1.01) < 1e-6 && values[2] == 1)
  }

  private func power(_ x: Double, _ n: Int) -> Double { (0..<n).reduce(1) { y, _ in y * x } }
}
