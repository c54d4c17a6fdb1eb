internal import CCUDA
internal import Compute
internal import Support
internal import Synchronization

/// Products by cuBLASLt. For each shape its first proposal that splits no sum is taken and kept, so
/// that a result depends on shapes, the GPU and the library's version alone.
///
/// `@unchecked Sendable` is sound because handles never change after `init`, and plans are behind a
/// `Mutex`.
@safe final class ProductLibrary: @unchecked Sendable {
  private struct Shape: Hashable {
    var (m, n, k, lda, ldb) = (0, 0, 0, 0, 0)
    var alignment = 0
    var isBFloat16 = false
    var transposesB = false
    var accumulates = false
    var scaling: Float = 1
  }

  let version: String
  private let handle: UnsafeMutableRawPointer
  private let stream: UnsafeMutableRawPointer
  private let workspace: UnsafeMutableRawPointer
  private static let workspaceByteCount = 32 << 20
  /// Addresses of plans; zero where the library has none for a shape.
  private let plans = Mutex<[Shape: UInt]>([:])

  /// Of the library that is open.
  static var versionText: String {
    let number = ccuda_cublaslt_version()
    return "\(number / 10000).\(number / 100 % 100).\(number % 100)"
  }

  /// Opens the library.
  ///
  /// - Parameters:
  ///   - search: where libraries are looked for.
  ///   - stream: that products join.
  /// - Returns: nil when there is no cuBLASLt; own kernels multiply then.
  /// - Throws: ``UserError`` when there is one that does not work.
  init?(_ search: LibrarySearch, stream: UnsafeMutableRawPointer) throws(UserError) {
    do {
      try search.open(.cuBLASLt) { path in
        unsafe problem(opening: path) { unsafe ccuda_open_cublaslt($0, $1, $2) }
      }
    } catch {
      return nil
    }
    version = Self.versionText
    var (handle, workspace): (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) =
      (nil, nil)
    let code = unsafe ccuda_cublaslt_create(&handle)
    guard code == 0, let handle = unsafe handle,
      unsafe ccuda_allocate(&workspace, Self.workspaceByteCount) == 0,
      let workspace = unsafe workspace
    else { throw UserError(.system, at: "cuBLASLt", "it cannot be started: status \(code)") }
    unsafe self.handle = handle
    unsafe self.workspace = workspace
    unsafe self.stream = stream
  }

  /// Computes a product.
  ///
  /// - Returns: whether the library has a way that splits no sum.
  /// - Throws: ``ComputeError`` when it fails.
  func multiply(_ product: LibraryProduct) throws(ComputeError) -> Bool {
    let plan = unsafe plan(product)
    guard plan != 0 else { return false }
    let code = unsafe ccuda_cublaslt_multiply(
      handle, UnsafeRawPointer(bitPattern: plan), product.a, product.b, product.c, workspace,
      Self.workspaceByteCount, stream)
    guard code == 0 else { throw ComputeError("a product by cuBLASLt failed: status \(code)") }
    return true
  }

  private func plan(_ product: LibraryProduct) -> UInt {
    let addresses = unsafe [product.a, product.b, product.c].reduce(UInt(256)) {
      $0 | UInt(bitPattern: $1)
    }
    let shape = unsafe Shape(
      m: product.m, n: product.n, k: product.k, lda: product.lda, ldb: product.ldb,
      alignment: 1 << addresses.trailingZeroBitCount, isBFloat16: product.isBFloat16,
      transposesB: product.transposesB, accumulates: product.accumulates,
      scaling: product.scaling)
    return plans.withLock { plans in
      if let known = plans[shape] { return known }
      var description = ccuda_product(
        m: Int64(shape.m), n: Int64(shape.n), k: Int64(shape.k), lda: Int64(shape.lda),
        ldb: Int64(shape.ldb), ldc: Int64(shape.n), alignment: UInt32(shape.alignment),
        is_bf16: shape.isBFloat16, transposes_b: shape.transposesB,
        accumulates: shape.accumulates, scaling: shape.scaling)
      var code: Int32 = 0
      let plan = unsafe ccuda_cublaslt_plan(
        handle, &description, Self.workspaceByteCount, &code)
      let address = UInt(bitPattern: plan)
      plans[shape] = address
      return address
    }
  }
}
