internal import COneDNN
package import Compute

// Every product is cut into a grid of tiles that depends on its shape alone, and each tile is one
// single-threaded call of the library, so that its bits depend on nothing else.

/// Rows and columns of the tiles.
enum Tile {
  /// Columns of an output strip; a strip's weights are decoded once.
  static let columns = 256
  /// Every call has a multiple of so many rows; see RowProduct.swift. AVX2 kernels take 6 rows, two
  /// of them at once, and AVX-512 kernels 8; tiles of bfloat16 have 16 rows.
  static let rowStep = CPUBackend.instructionSet.hasPrefix("avx512") ? largestRowStep : 12
  /// On any processor, so that plans are the same everywhere.
  static let largestRowStep = 32
  /// Rows of one bfloat16 call, so that few shapes need to be compiled.
  static let rows = 480
  /// The same as ``rowStep`` for bfloat16; with AMX, 32 rows take another kernel than more.
  private static let roundedRowStep = hasAMX ? largestRoundedRowStep : rowStep
  /// On any processor.
  static let largestRoundedRowStep = 64
  /// Rows of a tile of a product with a LoRA matrix.
  static let adapterRows = 96
  /// Tokens of one partial sum of a parameter gradient.
  static let tokens = 256
  private static let hasAMX = CPUBackend.instructionSet.contains("amx")

  /// The rows that the calls of a bfloat16 product have together.
  static func roundedRows(_ rows: Int) -> Int {
    let rest = rows % Tile.rows
    return rows - rest
      + min(Tile.rows, (rest + roundedRowStep - 1) / roundedRowStep * roundedRowStep)
  }

  /// The depth that one bfloat16 call takes of what remains. With AMX the library cuts long sums
  /// as suits the number of rows, so they are cut before.
  static func depth(_ rest: Int) -> Int {
    if !hasAMX { return rest }
    return rest >= 1024 ? 1024 : min(rest, 512)
  }
}

/// Calls the library's float32 product on this thread: `c = alpha op(a) op(b) + beta c`.
func sgemm(
  transposeA: Bool = false, transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1,
  _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ ldb: Int, accumulate: Bool,
  _ c: UnsafeMutablePointer<Float>, _ ldc: Int
) {
  if m == 0 || n == 0 || k == 0 { return }
  let status = unsafe onednn_sgemm(
    transposeA ? 1 : 0, transposeB ? 1 : 0, Int64(m), Int64(n), Int64(k), alpha, a, Int64(lda), b,
    Int64(ldb), accumulate ? 1 : 0, c, Int64(ldc))
  precondition(status == 0, "oneDNN float32 product [\(m), \(n), \(k)] failed with \(status)")
}

extension CPUBackend {
  /// Whether a product with a base weight rounds its operands.
  private func roundsOperands(_ weight: BaseMatrix) -> Bool {
    precision == .bfloat16 && !weight.isAlwaysFloat32
  }

  package func linear(_ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, out: Tensor)
    throws(ComputeError)
  {
    let T = x.rows
    let C = weight.columns
    let N = weight.rows
    precondition(
      x.columns == C && out.rows == T && out.columns == N && (bias?.count ?? N) == N,
      "linear: x [\(T), \(x.columns)], weight [\(N), \(C)], out [\(out.rows), \(out.columns)]")
    if T == 0 { return }
    let strips = (N + Tile.columns - 1) / Tile.columns
    let decoder = MatrixDecoder(weight)
    let result = unsafe out.floats
    if roundsOperands(weight) {
      let operand = unsafe try rounded(x)
      pool.forEachTile(strips) { strip, worker in
        let first = strip * Tile.columns
        let width = min(Tile.columns, N - first)
        // Weights of the strip, then room for a padded remainder of the output.
        let bytes = unsafe scratch.bytes(
          CPUWorkspace.roundedStrip(width: width, depth: C), worker: worker)
        let strip: UnsafeMutablePointer<UInt16>
        if let elements = unsafe decoder.bfloat16Elements {
          unsafe strip = elements + first * C
        } else {
          unsafe strip = bytes.assumingMemoryBound(to: UInt16.self)
          unsafe decoder.decodeBFloat16(first * C, count: width * C, to: strip)
        }
        let remainder = unsafe bytes.advanced(by: (width * C * 2 + 63) / 64 * 64)
          .assumingMemoryBound(to: Float.self)
        unsafe bfloat16Product(
          operand, rows: T, depth: C, strip, leading: C, transposed: true, width: width,
          out: result + first, leadingOut: N, accumulate: false, remainder: remainder)
      }
    } else {
      let x = unsafe x.floats
      pool.forEachTile(strips) { strip, worker in
        let first = strip * Tile.columns
        let width = min(Tile.columns, N - first)
        let elements = unsafe decoder.float32Elements
        let block = unsafe scratch.bytes(
          CPUWorkspace.floatProduct(width: width, depth: C, isDecoded: elements == nil),
          worker: worker)
        var strip: UnsafeMutablePointer<Float>
        if let elements = unsafe elements {
          unsafe strip = unsafe elements + first * C
        } else {
          unsafe strip = unsafe CPUWorkspace.strip(behind: block, columns: width, depth: C)
          unsafe decoder.decode(first * C, count: width * C, to: strip)
        }
        unsafe rowProduct(
          transposeB: true, m: T, n: width, k: C, x, strip, C, accumulate: false, result + first,
          N, block: block)
      }
    }
    guard let bias = unsafe bias?.floats else { return }
    forEachRowChunk(T, columns: N) { rows in
      for t in rows {
        let out = unsafe result + t * N
        forEachLanes(N) { i, w in unsafe out.store(out.lanes(i, w) + bias.lanes(i, w), i, w) }
      }
    }
  }

  package func linearBackward(_ dy: Tensor, _ weight: BaseMatrix, dx: Tensor, accumulate: Bool)
    throws(ComputeError)
  {
    let T = dy.rows
    let C = weight.columns
    let N = weight.rows
    precondition(
      dy.columns == N && dx.rows == T && dx.columns == C,
      "linearBackward: dy [\(T), \(dy.columns)], weight [\(N), \(C)], dx [\(dx.rows), \(dx.columns)]"
    )
    if T == 0 { return }
    let strips = (C + Tile.columns - 1) / Tile.columns
    let decoder = MatrixDecoder(weight)
    let result = unsafe dx.floats
    if roundsOperands(weight) {
      let operand = unsafe try rounded(dy)
      pool.forEachTile(strips) { strip, worker in
        let first = strip * Tile.columns
        let width = min(Tile.columns, C - first)
        let bytes = unsafe scratch.bytes(
          CPUWorkspace.roundedStrip(width: width, depth: N), worker: worker)
        // Columns are copied even where they are bfloat16 already: the library is faster on a
        // contiguous operand by more than the copy takes.
        let strip = unsafe bytes.assumingMemoryBound(to: UInt16.self)
        for n in 0..<N {
          unsafe decoder.decodeBFloat16(n * C + first, count: width, to: strip + n * width)
        }
        let remainder = unsafe bytes.advanced(by: (width * N * 2 + 63) / 64 * 64)
          .assumingMemoryBound(to: Float.self)
        unsafe bfloat16Product(
          operand, rows: T, depth: N, strip, leading: width, transposed: false,
          width: width, out: result + first, leadingOut: C,
          accumulate: accumulate, remainder: remainder)
      }
    } else {
      let dy = unsafe dy.floats
      pool.forEachTile(strips) { strip, worker in
        let first = strip * Tile.columns
        let width = min(Tile.columns, C - first)
        let elements = unsafe decoder.float32Elements
        let block = unsafe scratch.bytes(
          CPUWorkspace.floatProduct(width: width, depth: N, isDecoded: elements == nil),
          worker: worker)
        if let elements = unsafe elements {
          unsafe rowProduct(
            m: T, n: width, k: N, dy, elements + first, C, accumulate: accumulate, result + first,
            C, block: block)
        } else {
          let strip = unsafe CPUWorkspace.strip(behind: block, columns: width, depth: N)
          for n in 0..<N {
            unsafe decoder.decode(n * C + first, count: width, to: strip + n * width)
          }
          unsafe rowProduct(
            m: T, n: width, k: N, dy, strip, width, accumulate: accumulate, result + first, C,
            block: block)
        }
      }
    }
  }

  package func matmulTransposed(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    let T = x.rows
    let C = matrix.columns
    let N = matrix.rows
    precondition(
      x.columns == C && out.rows == T && out.columns == N,
      "matmulTransposed: [\(T), \(x.columns)] by [\(N), \(C)] to [\(out.rows), \(out.columns)]")
    let (x, matrix, out) = unsafe (x.floats, matrix.floats, out.floats)
    forEachTile(rows: T, Tile.adapterRows, columns: N, Tile.columns) {
      rows, columns, worker in
      unsafe rowProduct(
        transposeB: true, m: rows.count, n: columns.count, k: C, alpha: scaling,
        x + rows.lowerBound * C, matrix + columns.lowerBound * C, C, accumulate: accumulate,
        out + rows.lowerBound * N + columns.lowerBound, N,
        block: scratch.bytes(
          CPUWorkspace.rowBlock(columns: columns.count, depth: C), worker: worker))
    }
  }

  package func matmul(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    let T = x.rows
    let N = matrix.rows
    let C = matrix.columns
    precondition(
      x.columns == N && out.rows == T && out.columns == C,
      "matmul: [\(T), \(x.columns)] by [\(N), \(C)] to [\(out.rows), \(out.columns)]")
    let (x, matrix, out) = unsafe (x.floats, matrix.floats, out.floats)
    forEachTile(rows: T, Tile.adapterRows, columns: C, Tile.columns) {
      rows, columns, worker in
      unsafe rowProduct(
        m: rows.count, n: columns.count, k: N, alpha: scaling, x + rows.lowerBound * N,
        matrix + columns.lowerBound, C, accumulate: accumulate,
        out + rows.lowerBound * C + columns.lowerBound, C,
        block: scratch.bytes(
          CPUWorkspace.rowBlock(columns: columns.count, depth: N), worker: worker))
    }
  }

  package func accumulateOuterProduct(
    _ dy: Tensor, _ x: Tensor, scaling: Float, gradient: Tensor
  ) throws(ComputeError) {
    let T = dy.rows
    let N = dy.columns
    let C = x.columns
    precondition(
      x.rows == T && gradient.rows == N && gradient.columns == C,
      "accumulateOuterProduct: [\(T), \(N)], [\(x.rows), \(C)] to [\(gradient.rows), \(gradient.columns)]"
    )
    let (dy, x, gradient) = unsafe (dy.floats, x.floats, gradient.floats)
    forEachTile(rows: N, Tile.columns, columns: C, Tile.columns) { rows, columns, _ in
      for first in stride(from: 0, to: T, by: Tile.tokens) {
        unsafe sgemm(
          transposeA: true, m: rows.count, n: columns.count, k: min(Tile.tokens, T - first),
          alpha: scaling, dy + first * N + rows.lowerBound, N,
          x + first * C + columns.lowerBound, C, accumulate: true,
          gradient + rows.lowerBound * C + columns.lowerBound, C)
      }
    }
  }

  // MARK: Tiles

  private func forEachTile(
    rows: Int, _ rowStep: Int, columns: Int, _ columnStep: Int,
    _ body: (_ rows: Range<Int>, _ columns: Range<Int>, _ worker: Int) -> Void
  ) {
    let across = (columns + columnStep - 1) / columnStep
    pool.forEachTile((rows + rowStep - 1) / rowStep * across) { tile, worker in
      let row = tile / across * rowStep
      let column = tile % across * columnStep
      body(row..<min(rows, row + rowStep), column..<min(columns, column + columnStep), worker)
    }
  }

  /// A bfloat16 copy of `x` in the backend's operand buffer, with zero rows up to
  /// ``Tile/roundedRows(_:)``.
  private func rounded(_ x: Tensor) throws(ComputeError) -> UnsafeMutablePointer<UInt16> {
    let padded = Tile.roundedRows(x.rows)
    let operand = unsafe operandBuffer.bytes(
      CPUWorkspace.roundedOperand(rows: x.rows, columns: x.columns), worker: 0
    ).assumingMemoryBound(to: UInt16.self)
    let values = unsafe x.floats
    forEachChunk(x.count, of: 16384) { range in
      unsafe roundToBFloat16(
        values + range.lowerBound, count: range.count, to: operand + range.lowerBound)
    }
    unsafe (operand + x.count).update(repeating: 0, count: (padded - x.rows) * x.columns)
    return unsafe operand
  }

  /// `out[:, strip] = operand * strip` in row tiles; what is not whole goes through `remainder`.
  private func bfloat16Product(
    _ operand: UnsafeMutablePointer<UInt16>, rows: Int, depth: Int,
    _ strip: UnsafeMutablePointer<UInt16>, leading: Int, transposed: Bool, width: Int,
    out: UnsafeMutablePointer<Float>, leadingOut: Int, accumulate: Bool,
    remainder: UnsafeMutablePointer<Float>
  ) {
    for first in stride(from: 0, to: rows, by: Tile.rows) {
      let count = min(Tile.rows, rows - first)
      let padded = Tile.roundedRows(count)
      // The library's choice depends on the output's stride, too, so that is always the same.
      let isWhole = count == padded && (leadingOut == width || !hasNativeBFloat16)
      let place = unsafe out + first * leadingOut
      // Added by the library as in whole tiles: a row's bits do not depend on its place.
      if !isWhole, accumulate {
        for row in 0..<count {
          unsafe (remainder + row * width).update(from: place + row * leadingOut, count: width)
        }
        unsafe (remainder + count * width).update(repeating: 0, count: (padded - count) * width)
      }
      unsafe bfloat16Call(
        operand + first * depth, rows: padded, depth: depth, strip, leading: leading,
        transposed: transposed, width: width, out: isWhole ? place : remainder,
        leadingOut: isWhole ? leadingOut : width, accumulate: accumulate)
      if isWhole { continue }
      for row in 0..<count {
        unsafe (place + row * leadingOut).update(from: remainder + row * width, count: width)
      }
    }
  }

  /// One library call, or one for each piece of the depth; below AVX-512 bf16 the rounded operands
  /// are widened and multiplied as float32.
  private func bfloat16Call(
    _ a: UnsafeMutablePointer<UInt16>, rows: Int, depth: Int, _ b: UnsafeMutablePointer<UInt16>,
    leading: Int, transposed: Bool, width: Int, out: UnsafeMutablePointer<Float>, leadingOut: Int,
    accumulate: Bool
  ) {
    if hasNativeBFloat16 {
      var first = 0
      while first < depth {
        let piece = Tile.depth(depth - first)
        let status = unsafe onednn_bf16_gemm(
          transposed ? 1 : 0, Int64(rows), Int64(width), Int64(piece), a + first, Int64(depth),
          b + first * (transposed ? 1 : leading), Int64(leading), accumulate || first > 0 ? 1 : 0,
          out, Int64(leadingOut))
        precondition(
          status == 0, "oneDNN bfloat16 product [\(rows), \(width), \(piece)] failed with \(status)"
        )
        first += piece
      }
      return
    }
    let bRows = transposed ? width : depth
    let bColumns = transposed ? depth : width
    let widened = UnsafeMutablePointer<Float>.allocate(capacity: rows * depth + bRows * bColumns)
    defer { unsafe widened.deallocate() }
    let wideB = unsafe widened + rows * depth
    for i in 0..<rows * depth { unsafe widened[i] = unsafe float(fromBFloat16: a[i]) }
    for row in 0..<bRows {
      for column in 0..<bColumns {
        unsafe wideB[row * bColumns + column] = unsafe float(
          fromBFloat16: b[row * leading + column])
      }
    }
    unsafe sgemm(
      transposeB: transposed, m: rows, n: width, k: depth, widened, depth, wideB, bColumns,
      accumulate: accumulate, out, leadingOut)
  }
}
