/// The 8-bit dynamic code of the second quantization: signs, a run of zero bits as exponent, and
/// a linear fraction that fills what is left.
///
/// Source: Dettmers 2016, arXiv:1511.04561, section 2.1; the values as bitsandbytes makes them.
package enum DynamicCode {
  /// 256 values, ascending.
  package static let values: [Float] = {
    var values: [Float] = [0, 1]
    for exponent in 0..<7 {
      // Midpoints of a grid over [0.1, 1], counted from the nearer end with one rounding each, so
      // as to round alike.
      let count = (1 << exponent) + 1
      let step = (1 - Float(0.1)) / Float(count - 1)
      let grid = (0..<count).map { index in
        index < count / 2
          ? Float(0.1).addingProduct(step, Float(index))
          : Float(1).addingProduct(-step, Float(count - 1 - index))
      }
      var power = 1.0
      for _ in 0..<(6 - exponent) { power *= 10 }
      let scale = Float(1 / power)
      for index in 0..<count - 1 {
        let value = scale * ((grid[index] + grid[index + 1]) / 2)
        values += [value, -value]
      }
    }
    return values.sorted()
  }()

  /// The 255 midpoints between neighbouring values, in float32.
  package static let bounds: [Float] = zip(values, values.dropFirst()).map { 0.5 * ($0 + $1) }
}
