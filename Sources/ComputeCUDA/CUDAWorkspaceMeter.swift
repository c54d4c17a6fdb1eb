package import Compute
internal import Synchronization

/// Counts what a ``CUDABackend`` would hold besides tensors, rounded operands and decoded weights, and
/// lists the products that its library would compute.
package final class CUDAWorkspaceMeter: WorkspaceMeter {
  private struct State {
    var (weight, operand, attention) = (0, 0, 0)
    /// The most rows of each kind of product.
    var rows: [ProductShape: Int] = [:]
  }

  private let precision: Precision
  private let state = Mutex(State())

  package init(_ backend: CUDABackend) { precision = backend.precision }

  package func linear(rows: Int, _ weight: BaseMatrix, isBackward: Bool) {
    let isRounded = precision == .bfloat16 && !weight.isAlwaysFloat32
    let (columns, depth) =
      isBackward ? (weight.columns, weight.rows) : (weight.rows, weight.columns)
    let bytes =
      isRounded
      ? 2 * weight.rows * CUDABackend.padded(weight.columns) : 4 * weight.rows * weight.columns
    let (strideA, strideB) =
      isRounded
      ? (CUDABackend.padded(depth), CUDABackend.padded(weight.columns)) : (depth, weight.columns)
    state.withLock {
      $0.weight = max($0.weight, bytes)
      if isRounded { $0.operand = max($0.operand, 2 * rows * strideA) }
    }
    add(
      rows,
      ProductShape(
        columns: columns, depth: isRounded && !isBackward ? strideA : depth, strideA: strideA,
        strideB: strideB, isBFloat16: isRounded, transposesB: !isBackward))
  }

  package func product(_ x: Tensor, _ matrix: Tensor, transposes: Bool) {
    add(
      x.rows,
      ProductShape(
        columns: transposes ? matrix.rows : matrix.columns, depth: x.columns, strideA: x.columns,
        strideB: matrix.columns, isBFloat16: false, transposesB: transposes))
  }

  private func add(_ rows: Int, _ shape: ProductShape) {
    state.withLock { $0.rows[shape] = max($0.rows[shape] ?? 0, rows) }
  }

  package func attention(_ shape: AttentionShape, isBackward: Bool) {
    let queries = shape.segments.map(\.queries.upperBound).max() ?? 0
    let keys = shape.segments.map(\.keys.upperBound).max() ?? 0
    // At most 128 channels a head: those of queries and, for the gradient, of the output's.
    let width = min(max(shape.headWidth, 32) + 32, 128)
    let rounded =
      precision == .bfloat16
      ? 2 * width * (2 * queries * shape.queryHeads + 2 * keys * shape.keyValueHeads) : 0
    state.withLock {
      $0.attention = max($0.attention, rounded + 4 * queries * shape.queryHeads)
    }
  }

  package var byteCount: Int {
    // And the workspace of cuBLASLt.
    state.withLock { $0.weight + $0.operand + $0.attention } + CuBLASLt.workspaceByteCount
  }

  package var products: [ProductSizes] {
    state.withLock { state in
      state.rows.map { ProductSizes($0.key, largestRowCount: $0.value) }
    }
  }
}
