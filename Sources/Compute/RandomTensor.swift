/// A tensor of random numbers that lies nowhere: an element follows from the tensor's key and its
/// own index alone, so that any part of it can be made anywhere.
///
/// An element is the sum of the four bytes of a random word, centered and scaled: nearly normally
/// distributed, and with integers and one product the same bits on every device.
package struct RandomTensor: Sendable, Equatable {
  package var seed: UInt64
  /// Tells the tensors of one seed apart.
  package var stream: UInt64
  package var standardDeviation: Float

  package init(seed: UInt64, stream: UInt64, standardDeviation: Float) {
    self.seed = seed
    self.stream = stream
    self.standardDeviation = standardDeviation
  }

  /// The mean of a sum of four bytes.
  @inlinable package static var center: Int32 { 510 }
  /// Of an element in units of a sum, whose variance is `4 * (256^2 - 1) / 12`.
  @inlinable package var scale: Float { standardDeviation / Float(21845).squareRoot() }

  @inlinable
  package var generatorKey: SIMD2<UInt32> {
    SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
  }
  /// The words of the counter that tell the tensor.
  @inlinable
  package var streamWords: SIMD2<UInt32> {
    SIMD2(UInt32(truncatingIfNeeded: stream), UInt32(truncatingIfNeeded: stream >> 32))
  }

  /// One element: word `index % 4` of counter `index / 4`.
  package subscript(_ index: Int) -> Float {
    let block = UInt64(index / 4)
    let words = CounterGenerator.words(
      counter: SIMD4(
        streamWords.x, streamWords.y, UInt32(truncatingIfNeeded: block >> 32),
        UInt32(truncatingIfNeeded: block)),
      key: generatorKey)
    let word = words[index % 4]
    let sum = (0..<4).reduce(Int32(0)) { $0 + Int32(word >> UInt32(8 * $1) & 255) }
    return Float(sum - Self.center) * scale
  }
}
