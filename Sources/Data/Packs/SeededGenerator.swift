/// SplitMix64: the same numbers for the same seed and stream, on every machine and for good.
struct SeededGenerator {
  private var state: UInt64

  /// Starts the stream of numbers that (`seed`, `stream`) names.
  init(seed: UInt64, stream: UInt64) {
    // Both are mixed on their own, so that neighbouring seeds and streams have nothing in common.
    state = Self.mix(Self.mix(seed &+ Self.increment) ^ (stream &* Self.increment))
  }

  private static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func next() -> UInt64 {
    state &+= Self.increment
    return Self.mix(state)
  }

  /// A number from 0 to `bound - 1`, each equally likely.
  mutating func next(below bound: Int) -> Int {
    precondition(bound > 0, "no number is below \(bound)")
    let bound = UInt64(bound)
    // Of 2^64 values the last, incomplete round of `bound` is drawn again.
    let limit = UInt64.max - (UInt64.max % bound + 1) % bound
    while true {
      let value = next()
      if value <= limit { return Int(value % bound) }
    }
  }

  /// Puts `elements` in random order (Fisher-Yates).
  mutating func shuffle<Element>(_ elements: inout [Element]) {
    for last in stride(from: elements.count - 1, to: 0, by: -1) {
      elements.swapAt(last, next(below: last + 1))
    }
  }
}
