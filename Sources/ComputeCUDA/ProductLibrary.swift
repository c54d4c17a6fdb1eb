package import Compute

/// A library of matrix products that offers several algorithms for each.
package protocol ProductLibrary: AnyObject, Sendable {
  /// Name and version; algorithms mean the same for equal ones on equal devices.
  var name: String { get }
  /// Algorithms for products of up to so many rows, the fastest first as the library sees it; none
  /// of them splits a sum. The same for equal devices and libraries.
  func propose(_ key: ProductChoices.Key) throws(ComputeError) -> [ProductChoices.Algorithm]
  /// Why an algorithm that another process chose cannot be used at all; nil when it can.
  func flaw(of algorithm: ProductChoices.Algorithm) -> String?
  /// Whether an algorithm can compute products of this shape with so many rows.
  func accepts(_ algorithm: ProductChoices.Algorithm, _ shape: ProductShape, rows: Int) -> Bool
  /// Starts a product.
  func multiply(
    _ product: LibraryProduct, _ shape: ProductShape, with algorithm: ProductChoices.Algorithm)
    throws(ComputeError)
}

/// `c = scaling a op(b)`, or `c +=`, of row-major matrices; b is `[n, k]` where `transposesB`.
@unsafe package struct LibraryProduct {
  package var (m, n, k) = (0, 0, 0)
  package var (lda, ldb) = (0, 0)
  package var isBFloat16: Bool
  package var transposesB: Bool
  package var accumulates: Bool
  package var scaling: Float
  package var a: UnsafeMutableRawPointer
  package var b: UnsafeMutableRawPointer
  package var c: UnsafeMutableRawPointer

  var shape: ProductShape {
    unsafe ProductShape(
      columns: n, depth: k, strideA: lda, strideB: ldb, isBFloat16: isBFloat16,
      transposesB: transposesB)
  }

  /// Whether every row begins where the library's fast algorithms can read.
  var isAligned: Bool {
    let addresses = unsafe [a, b, c].reduce(UInt(0)) { $0 | UInt(bitPattern: $1) }
    return unsafe addresses % UInt(ProductShape.alignment) == 0 && shape.isAligned
  }
}

extension ProductShape {
  /// Bytes that a row of an operand has to begin at a multiple of; own kernels multiply where it does
  /// not.
  static let alignment = 16

  var isAligned: Bool {
    let byteCount = isBFloat16 ? 2 : 4
    return [byteCount * strideA, byteCount * strideB, 4 * columns].allSatisfy {
      $0 % Self.alignment == 0
    }
  }
}
