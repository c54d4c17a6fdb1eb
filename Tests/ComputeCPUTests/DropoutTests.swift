import Compute
import ComputeCPU
import TestSupport
import Testing

/// Dropout masks depend on what a token is, not on where it lies.
@Suite struct DropoutTests {
  let device = TestDevice(CPUBackend(threadCount: 2))
  static let key = DropoutKey(seed: 0x1234_5678_9ABC, step: 3, layer: 2, input: 1, rate: 0.25)

  /// The mask as 0 or 1 / (1 - rate), from an input of ones.
  private func mask(_ tokens: [Int32], _ columns: Int, _ key: DropoutKey = key) throws -> Matrix {
    let rows = tokens.count / 2
    let out = try device.empty(rows, columns)
    try device.backend.dropout(
      try device.tensor(Matrix(rows, columns, repeating: 1)),
      tokens: try device.tensor(tokens, rows: rows), key: key, out: out)
    return try device.matrix(out)
  }

  private func tokens(_ count: Int) -> [Int32] {
    (0..<count).flatMap { [Int32($0 / 50 + 4), Int32($0 % 50)] }
  }

  @Test(arguments: [0.0, 0.1, 0.5, 0.9] as [Float]) func rateIsKept(_ rate: Float) throws {
    var key = Self.key
    key.rate = rate
    let values = try mask(tokens(300), 401, key).values
    let keep = Double(1 / (1 - rate))
    #expect(values.allSatisfy { $0 == 0 || $0 == keep })
    let share = Double(values.count { $0 == 0 }) / Double(values.count)
    // Five standard deviations of a binomial share.
    let deviation = (Double(rate) * (1 - Double(rate)) / Double(values.count)).squareRoot()
    #expect(abs(share - Double(rate)) <= 5 * deviation)
  }

  @Test func masksOfOneKeyAreShared() throws {
    #expect(try mask(tokens(40), 33) == mask(tokens(40), 33))
    for (seed, step, layer, input) in [
      (1, 3, 2, 1), (0x1234_5678_9ABC, 4, 2, 1), (0x1234_5678_9ABC, 3, 1, 1),
      (0x1234_5678_9ABC, 3, 2, 0),
    ] as [(UInt64, Int, Int, Int)] {
      let other = DropoutKey(seed: seed, step: step, layer: layer, input: input, rate: 0.25)
      #expect(try mask(tokens(40), 33) != mask(tokens(40), 33, other))
    }
  }

  @Test func maskFollowsTheTokenNotItsRow() throws {
    let forward = tokens(120)
    var backward: [Int32] = []
    for t in (0..<120).reversed() { backward += forward[2 * t...2 * t + 1] }
    let (a, b) = (try mask(forward, 77), try mask(backward, 77))
    for t in 0..<120 { for c in 0..<77 { #expect(a[t, c] == b[119 - t, c]) } }
    // A narrower matrix has the first channels' mask.
    let narrow = try mask(forward, 30)
    #expect((0..<120).allSatisfy { t in (0..<30).allSatisfy { a[t, $0] == narrow[t, $0] } })
  }

  @Test func differentPlacesAreIndependent() throws {
    let a = try mask(tokens(200), 256)
    // Equal neighbours are as frequent as for independent draws: rate^2 + (1 - rate)^2 = 0.625.
    for (dt, dc) in [(0, 1), (0, 4), (1, 0), (50, 0)] {
      var equal = 0
      var count = 0
      for t in 0..<200 - dt {
        for c in 0..<256 - dc {
          equal += a[t, c] == a[t + dt, c + dc] ? 1 : 0
          count += 1
        }
      }
      #expect(abs(Double(equal) / Double(count) - 0.625) < 0.02)
    }
  }

  @Test(arguments: [(1, 1), (9, 7), (300, 130)]) func gradient(_ rows: Int, _ columns: Int) throws {
    var random = Random(8)
    let x = random.matrix(rows, columns)
    let before = random.matrix(rows, columns)
    let mask = try mask(tokens(rows), columns)
    let list = try device.tensor(tokens(rows), rows: rows)
    let out = try device.empty(rows, columns)
    try device.backend.dropout(try device.tensor(x), tokens: list, key: Self.key, out: out)
    let masked = zip(x.floats, mask.floats).map { $0 * $1 }
    #expect(try device.floats(out) == masked)
    let dx = try device.tensor(before)
    try device.backend.dropoutBackward(try device.tensor(x), tokens: list, key: Self.key, dx: dx)
    #expect(try device.floats(dx) == zip(before.floats, masked).map { $0 + $1 })
  }

  /// The mask is what the key says, word by word.
  @Test(arguments: [0.1, 0.25, 0.3] as [Float]) func maskFollowsTheWords(_ rate: Float) throws {
    var key = Self.key
    key.rate = rate
    let list = tokens(60)
    let mask = try mask(list, 71, key)
    for t in 0..<60 {
      for c in 0..<71 {
        let words = key.words(sample: list[2 * t], position: list[2 * t + 1], block: c / 4)
        #expect((mask[t, c] != 0) == (CounterGenerator.unit(words[c % 4]) >= rate))
      }
    }
  }

  /// Known answers of Philox 4x32-10 from the Random123 distribution (kat_vectors).
  @Test func philoxKnownAnswers() {
    #expect(
      CounterGenerator.words(counter: SIMD4(0, 0, 0, 0), key: SIMD2(0, 0))
        == SIMD4(0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8))
    #expect(
      CounterGenerator.words(counter: SIMD4(repeating: .max), key: SIMD2(repeating: .max))
        == SIMD4(0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD))
    #expect(
      CounterGenerator.words(
        counter: SIMD4(0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344),
        key: SIMD2(0xA409_3822, 0x299F_31D0))
        == SIMD4(0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1))
  }
}
