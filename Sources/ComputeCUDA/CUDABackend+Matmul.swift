internal import CCUDA
package import Compute

extension CUDABackend {
  /// Tokens of one partial sum of a parameter gradient.
  private static let tokenChunk = 512
  static func chunkCount(_ rows: Int) -> Int { (rows + tokenChunk - 1) / tokenChunk }

  package func linear(_ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, out: Tensor)
    throws(ComputeError)
  {
    let (T, C, N) = (x.rows, weight.columns, weight.rows)
    precondition(
      x.columns == C && out.rows == T && out.columns == N && (bias?.count ?? N) == N,
      "linear: x [\(T), \(x.columns)], weight [\(N), \(C)], out [\(out.rows), \(out.columns)]")
    if T == 0 { return }
    if weight.isRounded(precision) {
      let operand = try rounded(x)
      try multiply(
        operand, roundedWeight(weight), transposesB: true, columns: N, bRows: N, out: out,
        bias: bias, accumulate: false)
    } else {
      try multiply(
        x, floatWeight(weight), transposesB: true, scaling: 1, bias: bias, out: out,
        accumulate: false)
    }
  }

  package func linearBackward(_ dy: Tensor, _ weight: BaseMatrix, dx: Tensor, accumulate: Bool)
    throws(ComputeError)
  {
    let (T, C, N) = (dy.rows, weight.columns, weight.rows)
    precondition(
      dy.columns == N && dx.rows == T && dx.columns == C,
      "linearBackward: dy [\(T), \(dy.columns)], weight [\(N), \(C)], dx [\(dx.rows), \(dx.columns)]"
    )
    if T == 0 { return }
    if weight.isRounded(precision) {
      let operand = try rounded(dy)
      try multiply(
        operand, roundedWeight(weight), transposesB: false, columns: C, bRows: N, out: dx,
        bias: nil, accumulate: accumulate)
    } else {
      try multiply(
        dy, floatWeight(weight), transposesB: false, scaling: 1, bias: nil, out: dx,
        accumulate: accumulate)
    }
  }

  package func matmulTransposed(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    precondition(
      x.columns == matrix.columns && out.rows == x.rows && out.columns == matrix.rows,
      "matmulTransposed: [\(x.rows), \(x.columns)] by [\(matrix.rows), \(matrix.columns)]")
    try multiply(
      x, matrix, transposesB: true, scaling: scaling, bias: nil, out: out, accumulate: accumulate)
  }

  package func matmul(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    precondition(
      x.columns == matrix.rows && out.rows == x.rows && out.columns == matrix.columns,
      "matmul: [\(x.rows), \(x.columns)] by [\(matrix.rows), \(matrix.columns)]")
    try multiply(
      x, matrix, transposesB: false, scaling: scaling, bias: nil, out: out, accumulate: accumulate)
  }

  package func accumulateOuterProduct(
    _ dy: Tensor, _ x: Tensor, scaling: Float, gradient: Tensor
  ) throws(ComputeError) {
    let (T, N, C) = (dy.rows, dy.columns, x.columns)
    precondition(
      x.rows == T && gradient.rows == N && gradient.columns == C,
      "accumulateOuterProduct: [\(T), \(N)], [\(x.rows), \(C)]")
    if T == 0 || gradient.count == 0 { return }
    let chunks = Self.chunkCount(T)
    let isWhole = chunks == 1
    let out =
      isWhole
      ? gradient
      : try workspace.tensor(.partialSums, rows: chunks * N, columns: C, .float32)
    try launch(
      "product_tn", LaunchGrid((C + 63) / 64, (N + 63) / 64, chunks),
      [
        KernelArgument(dy), KernelArgument(x), address(nil),
        KernelArgument(out),
        KernelArgument(
          ccuda_float_product(
            m: Int32(N), n: Int32(C), k: Int32(T), lda: Int32(N), ldb: Int32(C),
            chunk: Int32(Self.tokenChunk), scaling: scaling, accumulates: isWhole ? 1 : 0)),
      ])
    if isWhole { return }
    try launch(
      "add_chunks", items: N * C,
      [
        KernelArgument(out), KernelArgument(gradient), KernelArgument(Int64(N * C)),
        KernelArgument(Int32(chunks)),
      ])
  }

  // MARK: Products

  private func address(_ tensor: Tensor?) -> KernelArgument {
    tensor.map { KernelArgument($0) } ?? KernelArgument(UInt64(0))
  }

  /// A float32 product, by the library or the own kernel.
  private func multiply(
    _ a: Tensor, _ b: Tensor, transposesB: Bool, scaling: Float, bias: Tensor?, out: Tensor,
    accumulate: Bool
  ) throws(ComputeError) {
    let (M, N, K) = (out.rows, out.columns, a.columns)
    if M == 0 || N == 0 { return }
    let product = unsafe LibraryProduct(
      m: M, n: N, k: K, lda: K, ldb: b.columns, isBFloat16: false, transposesB: transposesB,
      accumulates: accumulate, scaling: scaling, a: a.address, b: b.address, c: out.address)
    if unsafe try products?.multiply(product) ?? false { return try addBias(bias, to: out) }
    try launch(
      transposesB ? "product_nt" : "product_nn", LaunchGrid((N + 63) / 64, (M + 63) / 64),
      [
        KernelArgument(a), KernelArgument(b), address(bias), KernelArgument(out),
        KernelArgument(
          ccuda_float_product(
            m: Int32(M), n: Int32(N), k: Int32(K), lda: Int32(K), ldb: Int32(b.columns),
            chunk: Int32(max(K, 1)), scaling: scaling, accumulates: accumulate ? 1 : 0)),
      ])
  }

  /// A bfloat16 product of padded operands.
  func multiply(
    _ a: Tensor, _ b: Tensor, transposesB: Bool, columns N: Int, bRows: Int, out: Tensor,
    bias: Tensor?, accumulate: Bool
  ) throws(ComputeError) {
    let M = out.rows
    if M == 0 || N == 0 { return }
    let product = unsafe LibraryProduct(
      m: M, n: N, k: transposesB ? a.columns : bRows, lda: a.columns, ldb: b.columns,
      isBFloat16: true, transposesB: transposesB, accumulates: accumulate, scaling: 1,
      a: a.address, b: b.address, c: out.address)
    if unsafe try products?.multiply(product) ?? false { return try addBias(bias, to: out) }
    // Three stages of tiles, rows 8 elements longer than the tile; see products_bf16.cu.
    let tileElements = 128 * 40 + (transposesB ? 128 * 40 : 32 * 136)
    try launch(
      transposesB ? "rounded_product_nt" : "rounded_product_nn",
      LaunchGrid((N + 127) / 128, (M + 127) / 128), sharedByteCount: 3 * 2 * tileElements,
      [
        KernelArgument(a), KernelArgument(b), address(bias), KernelArgument(out),
        KernelArgument(
          ccuda_rounded_product(
            m: Int32(M), n: Int32(N), depth: Int32(a.columns), b_rows: Int32(bRows),
            lda: Int32(a.columns), ldb: Int32(b.columns), accumulates: accumulate ? 1 : 0)),
      ])
  }

  private func addBias(_ bias: Tensor?, to out: Tensor) throws(ComputeError) {
    guard let bias else { return }
    try launch(
      "add_bias", items: out.count,
      [
        KernelArgument(bias), KernelArgument(out), KernelArgument(Int32(out.columns)),
        KernelArgument(Int64(out.count)),
      ])
  }

  // MARK: Operands

  /// Rows are padded to whole steps of the product.
  static func padded(_ columns: Int) -> Int { (columns + 31) / 32 * 32 }

  /// A bfloat16 copy whose rows are padded with zeros.
  private func rounded(_ x: Tensor) throws(ComputeError) -> Tensor {
    let out = try workspace.tensor(
      .operand, rows: x.rows, columns: Self.padded(x.columns), .bfloat16)
    try round(x, to: out)
    return out
  }

  /// Rounds rows to bfloat16 rows that may be longer.
  ///
  /// - Parameters:
  ///   - x: `[rows, columns]`.
  ///   - out: as many rows.
  ///   - columns: of `out` that are written, a multiple of 8 each; zeros beyond those of x. Nil for all.
  ///   - scaling: factor of x.
  func round(_ x: Tensor, to out: Tensor, columns: Range<Int>? = nil, scaling: Float = 1)
    throws(ComputeError)
  {
    let columns = columns ?? 0..<out.columns
    precondition(
      columns.lowerBound % 8 == 0 && columns.count % 8 == 0 && out.columns % 8 == 0
        && columns.upperBound <= out.columns && columns.count >= x.columns && out.rows == x.rows)
    let start = Tensor(
      storage: out.storage, byteOffset: out.byteOffset + 2 * columns.lowerBound,
      columns: out.count - columns.lowerBound, elementType: .bfloat16)
    try launch(
      "round_rows", items: x.rows * columns.count / 8,
      [
        KernelArgument(x), KernelArgument(start), KernelArgument(Int32(x.rows)),
        KernelArgument(Int32(x.columns)), KernelArgument(Int32(columns.count)),
        KernelArgument(Int32(out.columns)), KernelArgument(scaling),
      ])
  }

  /// The weight as bfloat16 with padded rows; as it lies, where it lies so.
  private func roundedWeight(_ weight: BaseMatrix) throws(ComputeError) -> Tensor {
    if case .dense(let values) = weight.format, !weight.isDecoded(.bfloat16) { return values }
    let out = try workspace.tensor(
      .weight, rows: weight.rows, columns: Self.padded(weight.columns), .bfloat16)
    try decode(weight, toRounded: out)
    return out
  }

  /// Decodes a weight to the first columns of bfloat16 rows, padded with zeros.
  func decode(_ weight: BaseMatrix, toRounded out: Tensor) throws(ComputeError) {
    let width = Self.padded(weight.columns)
    precondition(out.rows == weight.rows && out.columns % 8 == 0 && out.columns >= width)
    try launch(
      "decode_bf16", items: weight.rows * width / 8,
      [
        source(of: weight), KernelArgument(out), KernelArgument(Int64(weight.rows)),
        KernelArgument(Int32(weight.columns)), KernelArgument(Int32(width)),
        KernelArgument(Int32(out.columns)),
      ])
  }

  /// The weight as float32; as it lies, where it is.
  private func floatWeight(_ weight: BaseMatrix) throws(ComputeError) -> Tensor {
    if case .dense(let values) = weight.format, !weight.isDecoded(.float32) { return values }
    let out = try workspace.tensor(.weight, rows: weight.rows, columns: weight.columns, .float32)
    try decode(weight, out: out)
    return out
  }
}

extension BaseMatrix {
  /// Whether operands of products with this matrix are rounded to bfloat16.
  func isRounded(_ precision: Precision) -> Bool { precision == .bfloat16 && !isAlwaysFloat32 }

  /// Whether products need a decoded copy: this matrix does not lie as the product reads it.
  func isDecoded(_ precision: Precision) -> Bool {
    guard case .dense(let values) = format else { return true }
    guard isRounded(precision) else { return values.elementType != .float32 }
    return values.elementType != .bfloat16 || columns != CUDABackend.padded(columns)
      || values.byteOffset % 16 != 0
  }
}
