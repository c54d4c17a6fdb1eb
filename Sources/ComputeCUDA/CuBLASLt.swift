internal import CCUDA
internal import Compute
internal import Support
internal import Synchronization

/// Products by cuBLASLt. Algorithms that split sums are refused: in which order their parts are added
/// up may depend on time.
///
/// `@unchecked Sendable` is sound because handles never change after `init`, and layouts are used
/// behind a `Mutex`.
@safe final class CuBLASLt: ProductLibrary, @unchecked Sendable {
  let name: String
  private let handle: UnsafeMutableRawPointer
  private let context: UnsafeMutableRawPointer
  private let stream: UnsafeMutableRawPointer
  private let workspace: UnsafeMutableRawPointer
  private let workspaceByteCount = 32 << 20
  /// Addresses of what cuBLASLt is told of a shape.
  private let layouts = Mutex<[ProductShape: UInt]>([:])

  /// Of the library that is open.
  static var versionText: String {
    let number = ccuda_cublaslt_version()
    return "\(number / 10000).\(number / 100 % 100).\(number % 100)"
  }

  /// Opens the library.
  ///
  /// - Parameters:
  ///   - search: where libraries are looked for.
  ///   - context: of the device.
  ///   - stream: that products join.
  /// - Returns: nil when there is no cuBLASLt; own kernels multiply then.
  /// - Throws: ``UserError`` when there is one that does not work.
  init?(
    _ search: LibrarySearch, context: UnsafeMutableRawPointer, stream: UnsafeMutableRawPointer
  ) throws(UserError) {
    do {
      try search.open(.cuBLASLt) { path in
        unsafe problem(opening: path) { unsafe ccuda_open_cublaslt($0, $1, $2) }
      }
    } catch {
      return nil
    }
    name = "cuBLASLt \(Self.versionText)"
    var (handle, workspace): (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) =
      (nil, nil)
    let code = unsafe ccuda_cublaslt_create(&handle)
    guard code == 0, let handle = unsafe handle,
      unsafe ccuda_allocate(&workspace, workspaceByteCount) == 0,
      let workspace = unsafe workspace
    else { throw UserError(.system, at: "cuBLASLt", "it cannot be started: status \(code)") }
    unsafe self.handle = handle
    unsafe self.workspace = workspace
    unsafe self.context = context
    unsafe self.stream = stream
  }

  /// Calls `body` with what cuBLASLt is told of a shape.
  private func withLayouts(_ shape: ProductShape, _ body: (UnsafeRawPointer?) -> Int32) -> Int32 {
    unsafe ccuda_set_context(context)
    return layouts.withLock { layouts in
      if layouts[shape] == nil {
        var description = ccuda_product(
          n: Int64(shape.columns), k: Int64(shape.depth), lda: Int64(shape.strideA),
          ldb: Int64(shape.strideB), is_bf16: shape.isBFloat16, transposes_b: shape.transposesB)
        var code: Int32 = 0
        let made = unsafe ccuda_cublaslt_layouts(&description, &code)
        guard code == 0 else { return code }
        layouts[shape] = UInt(bitPattern: made)
      }
      return unsafe body(UnsafeRawPointer(bitPattern: layouts[shape] ?? 0))
    }
  }

  private func stored(_ algorithm: ProductChoices.Algorithm) -> ccuda_algorithm? {
    var stored = ccuda_algorithm()
    guard algorithm.count == MemoryLayout<ccuda_algorithm>.size else { return nil }
    unsafe withUnsafeMutableBytes(of: &stored) { unsafe $0.copyBytes(from: algorithm) }
    return stored
  }

  func propose(_ key: ProductChoices.Key) throws(ComputeError) -> [ProductChoices.Algorithm] {
    var algorithms = [ccuda_algorithm](
      repeating: ccuda_algorithm(), count: ProductTable.listLength)
    var count: Int32 = 0
    let code = unsafe withLayouts(key.shape) { layouts in
      unsafe ccuda_cublaslt_propose(
        handle, layouts, Int64(key.rows), UInt32(ProductShape.alignment), workspaceByteCount,
        &algorithms, Int32(algorithms.count), &count)
    }
    guard code == 0 else { throw ComputeError("\(name) proposes no algorithm: status \(code)") }
    return algorithms.prefix(Int(count)).map { algorithm in
      unsafe withUnsafeBytes(of: algorithm) { unsafe Array($0) }
    }
  }

  func flaw(of algorithm: ProductChoices.Algorithm) -> String? {
    guard var stored = stored(algorithm) else {
      return "it has \(algorithm.count) bytes and not \(MemoryLayout<ccuda_algorithm>.size)"
    }
    return unsafe ccuda_cublaslt_splits(&stored) ? "it splits sums" : nil
  }

  func accepts(_ algorithm: ProductChoices.Algorithm, _ shape: ProductShape, rows: Int) -> Bool {
    guard var stored = stored(algorithm) else { return false }
    return unsafe withLayouts(shape) { layouts in
      unsafe ccuda_cublaslt_check(
        handle, layouts, Int64(rows), &stored, workspaceByteCount)
    } == 0
  }

  func multiply(
    _ product: LibraryProduct, _ shape: ProductShape, with algorithm: ProductChoices.Algorithm
  ) throws(ComputeError) {
    guard var stored = stored(algorithm) else { preconditionFailure("no algorithm of cuBLASLt") }
    let code = unsafe withLayouts(shape) { layouts in
      unsafe ccuda_cublaslt_multiply(
        handle, layouts, Int64(product.m), product.scaling, product.accumulates, &stored,
        product.a, product.b, product.c, workspace, workspaceByteCount, stream)
    }
    guard code == 0 else { throw ComputeError("a product by \(name) failed: status \(code)") }
  }
}
