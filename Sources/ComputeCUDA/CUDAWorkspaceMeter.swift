package import Compute
internal import Synchronization

/// Counts what a ``CUDABackend`` would hold besides tensors: rounded operands and decoded weights.
package final class CUDAWorkspaceMeter: WorkspaceMeter {
  private let precision: Precision
  private let sizes = Mutex<(weight: Int, operand: Int, attention: Int)>((0, 0, 0))

  package init(_ backend: CUDABackend) { precision = backend.precision }

  package func linear(rows: Int, _ weight: BaseMatrix, isBackward: Bool) {
    let isRounded = precision == .bfloat16 && !weight.isAlwaysFloat32
    let depth = isBackward ? weight.rows : weight.columns
    let bytes =
      isRounded
      ? 2 * weight.rows * CUDABackend.padded(weight.columns) : 4 * weight.rows * weight.columns
    sizes.withLock {
      $0.weight = max($0.weight, bytes)
      if isRounded { $0.operand = max($0.operand, 2 * rows * CUDABackend.padded(depth)) }
    }
  }

  package func attention(_ shape: AttentionShape, isBackward: Bool) {
    let queries = shape.segments.map(\.queries.upperBound).max() ?? 0
    let keys = shape.segments.map(\.keys.upperBound).max() ?? 0
    // At most 128 channels a head: those of queries and, for the gradient, of the output's.
    let width = min(max(shape.headWidth, 32) + 32, 128)
    let rounded =
      precision == .bfloat16
      ? 2 * width * (2 * queries * shape.queryHeads + 2 * keys * shape.keyValueHeads) : 0
    sizes.withLock {
      $0.attention = max($0.attention, rounded + 4 * queries * shape.queryHeads)
    }
  }

  package var byteCount: Int {
    // And the workspace of cuBLASLt.
    sizes.withLock { $0.weight + $0.operand + $0.attention } + 32 << 20
  }
}
