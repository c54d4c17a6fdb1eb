import Compute
import ComputeCPU
import TestSupport
import Testing

/// Routing, gathering and combining of experts.
@Suite struct ExpertTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var tokens: Int
    var experts: Int
    var chosen: Int
    var testDescription: String { "\(tokens) tokens, \(chosen) of \(experts)" }
  }
  /// One token, one expert, all experts, few tokens for many experts, several chunks.
  static let cases = [
    Case(tokens: 1, experts: 8, chosen: 2), Case(tokens: 5, experts: 1, chosen: 1),
    Case(tokens: 6, experts: 3, chosen: 3), Case(tokens: 3, experts: 64, chosen: 1),
    Case(tokens: 700, experts: 8, chosen: 2), Case(tokens: 301, experts: 13, chosen: 4),
  ]

  let device = TestDevice(CPUBackend(threadCount: 2))

  private func routing(_ example: Case) throws -> Routing {
    let (T, E, K) = (example.tokens, example.experts, example.chosen)
    func integers(_ rows: Int, _ columns: Int) throws -> Tensor {
      try device.tensor([Int32](repeating: -1, count: rows * columns), rows: rows)
    }
    return Routing(
      probabilities: try device.empty(T, E), experts: try integers(T, K),
      weights: try device.empty(T, K), tokenOfRow: try integers(1, T * K),
      rowOfToken: try integers(T, K), probabilitySums: try device.empty(1, E))
  }

  @Test(arguments: cases, [false, true]) func routes(_ example: Case, _ normalize: Bool) throws {
    let (T, E, K) = (example.tokens, example.experts, example.chosen)
    var random = Random(UInt64(T + E))
    let logits = random.matrix(T, E, scale: 2)
    let routing = try routing(example)
    let counts = try device.backend.route(
      try device.tensor(logits), normalize: normalize, routing: routing)

    let probabilities = Reference.softmax(logits)
    #expect(
      normalizedError(try device.matrix(routing.probabilities), probabilities) < Tolerance.float32)
    let chosen = Reference.topExperts(probabilities, K)
    #expect(try device.integers(routing.experts) == chosen.flatMap { $0.map(Int32.init) })
    let weights = Reference.expertWeights(logits, chosen, normalize: normalize)
    #expect(normalizedError(try device.matrix(routing.weights), weights) < Tolerance.float32)

    // Rows by expert, then token.
    var tokenOfRow: [Int32] = []
    var rowOfToken = [Int32](repeating: 0, count: T * K)
    for e in 0..<E {
      for t in 0..<T {
        guard let k = chosen[t].firstIndex(of: e) else { continue }
        rowOfToken[t * K + k] = Int32(tokenOfRow.count)
        tokenOfRow.append(Int32(t))
      }
    }
    #expect(try device.integers(routing.tokenOfRow) == tokenOfRow)
    #expect(try device.integers(routing.rowOfToken) == rowOfToken)
    #expect(counts == (0..<E).map { e in chosen.count { $0.contains(e) } })
    let sums = Matrix(1, E, (0..<E).map { e in (0..<T).reduce(0.0) { $0 + probabilities[$1, e] } })
    #expect(normalizedError(try device.matrix(routing.probabilitySums), sums) < Tolerance.float32)

    // Gradient: of the weights, and of the sums of the probabilities for the router loss.
    let dweights = random.matrix(T, K)
    let common = random.matrix(1, E)
    let dlogits = try device.empty(T, E)
    try device.backend.routeBackward(
      dweights: try device.tensor(dweights), normalize: normalize,
      probabilityGradient: try device.tensor(common), routing: routing, dlogits: dlogits)
    func value(_ logits: Matrix) -> Double {
      let p = Reference.softmax(logits)
      var total = Reference.expertWeights(logits, chosen, normalize: normalize).dot(dweights)
      for t in 0..<T { for e in 0..<E { total += p[t, e] * common[0, e] } }
      return total
    }
    if E > 1 {
      try expectGradient(try device.matrix(dlogits), at: logits, &random, value)
    } else {
      #expect(try device.floats(dlogits).allSatisfy { abs($0) < 1e-6 })
    }
  }

  @Test func tiesGoToTheLowerExpert() throws {
    let example = Case(tokens: 3, experts: 8, chosen: 3)
    let routing = try routing(example)
    var logits = Matrix(3, 8, repeating: 0.25)
    logits[1, 5] = 1
    logits[1, 7] = 1
    logits[2, 0] = -1
    let counts = try device.backend.route(
      try device.tensor(logits), normalize: true, routing: routing)
    #expect(try device.integers(routing.experts) == [0, 1, 2, 5, 7, 0, 1, 2, 3])
    // Experts 4 and 6 are empty.
    #expect(counts == [2, 2, 2, 1, 0, 1, 0, 1])
  }

  @Test(arguments: cases) func gathersAndCombines(_ example: Case) throws {
    let (T, E, K) = (example.tokens, example.experts, example.chosen)
    for C in [1, 7, 130] {
      var random = Random(UInt64(T * C))
      let routing = try routing(example)
      _ = try device.backend.route(
        try device.tensor(random.matrix(T, E)), normalize: true, routing: routing)
      let rows = try device.integers(routing.rowOfToken).map(Int.init)
      let tokens = try device.integers(routing.tokenOfRow).map(Int.init)
      let weights = try device.matrix(routing.weights)

      let x = random.matrix(T, C)
      let gathered = try device.empty(T * K, C)
      try device.backend.gatherRows(try device.tensor(x), routing: routing, out: gathered)
      let expectedRows = tokens.flatMap { t in (0..<C).map { Float(x[t, $0]) } }
      #expect(try device.floats(gathered) == expectedRows)

      let dy = random.matrix(T * K, C)
      var dxExpected = Matrix(T, C)
      for t in 0..<T {
        for k in 0..<K { for c in 0..<C { dxExpected[t, c] += dy[rows[t * K + k], c] } }
      }
      let dx = try device.empty(T, C)
      try device.backend.gatherRowsBackward(try device.tensor(dy), routing: routing, dx: dx)
      #expect(normalizedError(try device.matrix(dx), dxExpected) < Tolerance.float32)

      let y = random.matrix(T * K, C)
      let before = random.matrix(T, C)
      var outExpected = before
      let dout = random.matrix(T, C)
      var dyExpected = Matrix(T * K, C)
      var dweightsExpected = Matrix(T, K)
      for t in 0..<T {
        for k in 0..<K {
          let row = rows[t * K + k]
          for c in 0..<C {
            outExpected[t, c] += weights[t, k] * y[row, c]
            dyExpected[row, c] = weights[t, k] * dout[t, c]
            dweightsExpected[t, k] += dout[t, c] * y[row, c]
          }
        }
      }
      let out = try device.tensor(before)
      let yTensor = try device.tensor(y)
      try device.backend.combineExperts(yTensor, routing: routing, out: out)
      #expect(normalizedError(try device.matrix(out), outExpected) < Tolerance.float32)

      // In place, as the layer uses it.
      let dweights = try device.empty(T, K)
      try device.backend.combineExpertsBackward(
        try device.tensor(dout), y: yTensor, routing: routing, dy: yTensor, dweights: dweights)
      #expect(normalizedError(try device.matrix(yTensor), dyExpected) < Tolerance.float32)
      #expect(normalizedError(try device.matrix(dweights), dweightsExpected) < Tolerance.float32)
    }
  }
}
