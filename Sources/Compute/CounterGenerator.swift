/// Philox 4x32-10: 128 random bits as a pure function of a counter and a key.
///
/// Masks and initial weights are keyed by what they belong to, never by which rank makes them or
/// in which order, so that any number of ranks draws the same numbers.
///
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", figure 2 and table 2.
package enum CounterGenerator {
  /// Four random words.
  @inlinable
  package static func words(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var counter = counter
    var key = key
    for _ in 0..<10 {
      let product0 = UInt64(counter.x) &* 0xD251_1F53
      let product1 = UInt64(counter.z) &* 0xCD9E_8D57
      counter = SIMD4(
        UInt32(truncatingIfNeeded: product1 >> 32) ^ counter.y ^ key.x,
        UInt32(truncatingIfNeeded: product1),
        UInt32(truncatingIfNeeded: product0 >> 32) ^ counter.w ^ key.y,
        UInt32(truncatingIfNeeded: product0))
      key = SIMD2(key.x &+ 0x9E37_79B9, key.y &+ 0xBB67_AE85)
    }
    return counter
  }

  /// The same words for eight counters that differ in their last word, one vector for each word.
  @inlinable
  package static func words(
    _ counter0: UInt32, _ counter1: UInt32, _ counter2: UInt32, _ counter3: SIMD8<UInt32>,
    key: SIMD2<UInt32>
  ) -> (SIMD8<UInt32>, SIMD8<UInt32>, SIMD8<UInt32>, SIMD8<UInt32>) {
    var x = SIMD8<UInt32>(repeating: counter0)
    var y = SIMD8<UInt32>(repeating: counter1)
    var z = SIMD8<UInt32>(repeating: counter2)
    var w = counter3
    var key = key
    for _ in 0..<10 {
      let product0 = SIMD8<UInt64>(truncatingIfNeeded: x) &* 0xD251_1F53
      let product1 = SIMD8<UInt64>(truncatingIfNeeded: z) &* 0xCD9E_8D57
      x = SIMD8<UInt32>(truncatingIfNeeded: product1 &>> 32) ^ y ^ key.x
      y = SIMD8<UInt32>(truncatingIfNeeded: product1)
      z = SIMD8<UInt32>(truncatingIfNeeded: product0 &>> 32) ^ w ^ key.y
      w = SIMD8<UInt32>(truncatingIfNeeded: product0)
      key = SIMD2(key.x &+ 0x9E37_79B9, key.y &+ 0xBB67_AE85)
    }
    return (x, y, z, w)
  }

  /// A float32 in [0, 1) from 24 random bits.
  @inlinable
  package static func unit(_ word: UInt32) -> Float { Float(word >> 8) * 0x1p-24 }
}

extension DropoutKey {
  /// The word of the counter that tells the layer and its input.
  @inlinable
  package var place: UInt32 {
    UInt32(truncatingIfNeeded: layer) << 16 | UInt32(truncatingIfNeeded: input)
  }

  @inlinable
  package var generatorKey: SIMD2<UInt32> {
    SIMD2(
      UInt32(truncatingIfNeeded: seed) ^ UInt32(truncatingIfNeeded: step),
      UInt32(truncatingIfNeeded: seed >> 32) ^ 0x6472_6F70)
  }

  /// The random words that decide channels `4 * block ..< 4 * block + 4` of a token.
  @inlinable
  package func words(sample: Int32, position: Int32, block: Int) -> SIMD4<UInt32> {
    CounterGenerator.words(
      counter: SIMD4(
        UInt32(bitPattern: sample), UInt32(bitPattern: position), place,
        UInt32(truncatingIfNeeded: block)),
      key: generatorKey)
  }

  /// The words of eight blocks from `block` on: element b of part i decides channel
  /// `4 * (block + b) + i`.
  @inlinable
  package func wordsOfEightBlocks(sample: Int32, position: Int32, block: Int)
    -> (SIMD8<UInt32>, SIMD8<UInt32>, SIMD8<UInt32>, SIMD8<UInt32>)
  {
    CounterGenerator.words(
      UInt32(bitPattern: sample), UInt32(bitPattern: position), place,
      SIMD8(0, 1, 2, 3, 4, 5, 6, 7) &+ UInt32(truncatingIfNeeded: block), key: generatorKey)
  }
}
