internal import Synchronization

// A sample's losses must not depend on what else is in its pack. So a row of a product may not depend
// on the number of rows, nor on its place: in a mixture of experts both follow from other samples.
// The library's kernels take several rows at a time and round the ones that remain differently.

extension CPUBackend {
  /// The float32 product `c = alpha a op(b) + beta c`, in which every row of `c` has the same bits
  /// whatever the other rows are.
  ///
  /// Rows beyond a multiple of ``Tile/rowStep`` are multiplied in a block of that many, with zero
  /// rows after them.
  ///
  /// - Parameters:
  ///   - transposeB: whether `b` is `[n, k]`.
  ///   - m: rows of `a` and `c`; `n`: columns of `c`; `k`: columns of `a`, which follow each other.
  ///   - block: at least ``CPUWorkspace/rowBlock(columns:depth:)`` bytes.
  func rowProduct(
    transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1, _ a: UnsafePointer<Float>,
    _ b: UnsafePointer<Float>, _ ldb: Int, accumulate: Bool, _ c: UnsafeMutablePointer<Float>,
    _ ldc: Int, block: UnsafeMutableRawPointer
  ) {
    let rest = isGenerating.load(ordering: .relaxed) ? 0 : m % Tile.rowStep
    let whole = m - rest
    unsafe sgemm(
      transposeB: transposeB, m: whole, n: n, k: k, alpha: alpha, a, k, b, ldb,
      accumulate: accumulate, c, ldc)
    if rest == 0 { return }
    let left = unsafe block.assumingMemoryBound(to: Float.self)
    let result = unsafe left + Tile.rowStep * k
    unsafe left.update(from: a + whole * k, count: rest * k)
    unsafe (left + rest * k).update(repeating: 0, count: (Tile.rowStep - rest) * k)
    if accumulate {
      for row in 0..<rest {
        unsafe (result + row * n).update(from: c + (whole + row) * ldc, count: n)
      }
      unsafe (result + rest * n).update(repeating: 0, count: (Tile.rowStep - rest) * n)
    }
    unsafe sgemm(
      transposeB: transposeB, m: Tile.rowStep, n: n, k: k, alpha: alpha, left, k, b, ldb,
      accumulate: accumulate, result, n)
    for row in 0..<rest {
      unsafe (c + (whole + row) * ldc).update(from: result + row * n, count: n)
    }
  }
}
