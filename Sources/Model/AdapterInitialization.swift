internal import Compute

extension AdapterLayout {
  /// Weights to begin with: A uniform in +-1 / sqrt(in), which is Kaiming's with a = sqrt 5, and B zero.
  ///
  /// - Parameter seed: the same seed gives the same weights; each matrix has numbers of its own.
  /// - Returns: the flat vector.
  package func initialValues(seed: UInt64) -> [Float] {
    var values = [Float](repeating: 0, count: elementCount)
    let key = SIMD2(
      UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32) ^ 0x6C6F_7261)
    for (number, entry) in entries.enumerated() {
      let bound = 1 / Float(entry.inputs).squareRoot()
      for block in 0..<(entry.rangeA.count + 3) / 4 {
        let words = CounterGenerator.words(
          counter: SIMD4(
            UInt32(truncatingIfNeeded: number), UInt32(truncatingIfNeeded: block),
            UInt32(truncatingIfNeeded: block >> 32), 0), key: key)
        for lane in 0..<min(4, entry.rangeA.count - 4 * block) {
          values[entry.rangeA.lowerBound + 4 * block + lane] =
            (2 * CounterGenerator.unit(words[lane]) - 1) * bound
        }
      }
    }
    return values
  }
}
