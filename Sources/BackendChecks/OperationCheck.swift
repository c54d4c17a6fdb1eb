package import Compute

/// An operation of ``Backend`` on random inputs of several shapes, on one device and on another that
/// is known to be right.
package struct OperationCheck: Sendable, CustomStringConvertible {
  /// How close results have to be: the norm of their difference over the norm of what is right.
  package enum Bound: Sendable {
    /// The same bits.
    case bits
    /// Sums of float32 in another order.
    case float32
    /// Sums of products of bf16 numbers, which tensor cores add up with fewer bits.
    case tensorCores
    /// The device rounds operands and probabilities to bf16, and the other does not.
    case rounding

    package var value: Double {
      switch self {
      case .bits: 0
      case .float32: 1e-6
      case .tensorCores: 1e-5
      case .rounding: 9e-3
      }
    }
  }

  /// Inputs of one shape.
  struct Case: Sendable {
    let name: String
    /// Puts inputs on the device and returns results.
    let run: @Sendable (OperationInputs) throws -> [Tensor]

    init(_ name: String, _ run: @escaping @Sendable (OperationInputs) throws -> [Tensor]) {
      self.name = name
      self.run = run
    }
  }

  package let name: String
  /// Of the two backends.
  package let precision: Precision
  package let bound: Bound
  let cases: [Case]

  init(_ name: String, _ bound: Bound, precision: Precision = .float32, _ cases: [Case]) {
    self.name = name + (precision == .bfloat16 ? ", bf16" : "")
    self.precision = precision
    self.bound = bound
    self.cases = cases
  }

  package var description: String { name }

  /// What a comparison found.
  package struct Result: Sendable {
    /// The largest difference of any result; with ``Bound/bits`` the share of elements that differ.
    package var difference: Double
    /// Where it is.
    package var place: String
    package var shapeCount: Int
  }

  /// Runs all shapes on both devices.
  ///
  /// - Parameters:
  ///   - device: to be tested.
  ///   - reference: that is right.
  ///   - seed: of the inputs.
  /// - Returns: the largest difference.
  /// - Throws: what the devices throw.
  package func compare(_ device: any Backend, with reference: any Backend, seed: UInt64) throws
    -> Result
  {
    var result = Result(difference: 0, place: cases.first?.name ?? "", shapeCount: cases.count)
    for example in cases {
      func results(_ backend: any Backend) throws -> [[Float]] {
        let inputs = OperationInputs(backend, seed: seed)
        return try example.run(inputs).map(inputs.numbers)
      }
      for (ours, theirs) in zip(try results(device), try results(reference)) {
        let difference = difference(ours, theirs)
        // What is not a number is larger than everything.
        guard difference > result.difference || difference.isNaN else { continue }
        result.difference = difference.isNaN ? .infinity : difference
        result.place = example.name
      }
    }
    return result
  }

  private func difference(_ ours: [Float], _ theirs: [Float]) -> Double {
    guard ours.count == theirs.count else { return .infinity }
    if case .bits = bound {
      let unequal = zip(ours, theirs).count { $0.bitPattern != $1.bitPattern }
      return unequal == 0 ? 0 : Double(unequal) / Double(ours.count)
    }
    var (error, power) = (0.0, 0.0)
    for (a, b) in zip(ours, theirs) {
      error += (Double(a) - Double(b)) * (Double(a) - Double(b))
      power += Double(b) * Double(b)
    }
    return error == 0 ? 0 : (error / power).squareRoot()
  }

  /// Every operation of ``Backend``, the cheapest first.
  package static let all =
    layers + rows + routing + quantization + products + attention
}
