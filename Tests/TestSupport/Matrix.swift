/// A row-major matrix in double precision: what references compute with.
package struct Matrix: Sendable, Equatable {
  package var rows: Int
  package var columns: Int
  package var values: [Double]

  package init(_ rows: Int, _ columns: Int, _ values: [Double]) {
    precondition(values.count == rows * columns)
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  package init(_ rows: Int, _ columns: Int, repeating value: Double = 0) {
    self.init(rows, columns, [Double](repeating: value, count: rows * columns))
  }

  package init(_ rows: Int, _ columns: Int, _ values: [Float]) {
    self.init(rows, columns, values.map(Double.init))
  }

  package subscript(row: Int, column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  package var floats: [Float] { values.map { Float($0) } }

  package var transposed: Matrix {
    var result = Matrix(columns, rows)
    for row in 0..<rows { for column in 0..<columns { result[column, row] = self[row, column] } }
    return result
  }

  package func map(_ body: (Double) -> Double) -> Matrix { Matrix(rows, columns, values.map(body)) }

  package static func + (a: Matrix, b: Matrix) -> Matrix {
    precondition(a.rows == b.rows && a.columns == b.columns)
    return Matrix(a.rows, a.columns, zip(a.values, b.values).map { $0 + $1 })
  }

  package static func * (a: Double, b: Matrix) -> Matrix { b.map { a * $0 } }

  /// `a b`.
  package static func * (a: Matrix, b: Matrix) -> Matrix {
    precondition(a.columns == b.rows)
    var result = Matrix(a.rows, b.columns)
    for row in 0..<a.rows {
      for k in 0..<a.columns {
        let factor = a[row, k]
        for column in 0..<b.columns { result[row, column] += factor * b[k, column] }
      }
    }
    return result
  }

  /// The sum of the products of the elements.
  package func dot(_ other: Matrix) -> Double {
    precondition(values.count == other.values.count)
    return zip(values, other.values).reduce(0) { $0 + $1.0 * $1.1 }
  }
}

/// Seeded numbers: the same on every machine.
package struct Random: RandomNumberGenerator {
  private var state: UInt64
  package init(_ seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    // SplitMix64 (Steele, Lea & Flood 2014).
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// About normally distributed, exact in float32.
  package mutating func normal() -> Double {
    var sum = -6.0
    for _ in 0..<12 { sum += Double(next() >> 11) * 0x1p-53 }
    return Double(Float(sum))
  }

  package mutating func matrix(_ rows: Int, _ columns: Int, scale: Double = 1) -> Matrix {
    Matrix(rows, columns, (0..<rows * columns).map { _ in Double(Float(scale * normal())) })
  }

  package mutating func integers(_ count: Int, below bound: Int) -> [Int32] {
    (0..<count).map { _ in Int32(next() % UInt64(bound)) }
  }
}

/// Mean squared error over the mean square of the reference; infinite when a value is not finite.
package func normalizedError(_ values: [Double], _ reference: [Double]) -> Double {
  precondition(values.count == reference.count)
  var error = 0.0
  var power = 0.0
  for (value, expected) in zip(values, reference) {
    if !value.isFinite { return .infinity }
    error += (value - expected) * (value - expected)
    power += expected * expected
  }
  return error == 0 ? 0 : error / power
}

package func normalizedError(_ values: Matrix, _ reference: Matrix) -> Double {
  precondition(values.rows == reference.rows && values.columns == reference.columns)
  return normalizedError(values.values, reference.values)
}

/// Largest normalized errors of results whose inputs are float32, or rounded to bfloat16 by the
/// device alone.
package enum Tolerance {
  package static let float32 = 1e-12
  package static let bfloat16 = 2e-5
}

/// The central difference of `function` at `x` along `direction`.
package func directionalDerivative(
  at x: Matrix, along direction: Matrix, step: Double = 1e-5, _ function: (Matrix) -> Double
) -> Double {
  (function(x + step * direction) - function(x + (-step) * direction)) / (2 * step)
}

/// The gradient of `function` at `x` by central differences of every element.
package func numericalGradient(
  at x: Matrix, step: Double = 1e-5, _ function: (Matrix) -> Double
) -> Matrix {
  var gradient = Matrix(x.rows, x.columns)
  var moved = x
  for i in 0..<x.values.count {
    moved.values[i] = x.values[i] + step
    let above = function(moved)
    moved.values[i] = x.values[i] - step
    gradient.values[i] = (above - function(moved)) / (2 * step)
    moved.values[i] = x.values[i]
  }
  return gradient
}

/// FNV-1a over the bits of float32 values: equal exactly when the results are.
package func fingerprint(_ values: [Float]) -> UInt64 {
  values.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1.bitPattern)) &* 1_099_511_628_211 }
}
