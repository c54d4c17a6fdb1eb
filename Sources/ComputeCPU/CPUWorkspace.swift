package import Compute
internal import Synchronization

/// The sizes of a CPU backend's own memory: strips of decoded weights, blocks of scores, rounded
/// operands. The operations take them from here, so that a plan and a run agree.
enum CPUWorkspace {
  /// The rows that remain of a float32 product, and what becomes of them.
  static func rowBlock(columns: Int, depth: Int) -> Int {
    (Tile.largestRowStep * (columns + depth) * 4 + 63) / 64 * 64
  }

  /// A float32 product with a strip of a weight, which is read in place or decoded.
  static func floatProduct(width: Int, depth: Int, isDecoded: Bool) -> Int {
    rowBlock(columns: width, depth: depth) + (isDecoded ? width * depth * 4 : 0)
  }

  /// The decoded strip, which lies behind the rows that remain.
  static func strip(behind block: UnsafeMutableRawPointer, columns: Int, depth: Int)
    -> UnsafeMutablePointer<Float>
  {
    unsafe block.advanced(by: rowBlock(columns: columns, depth: depth))
      .assumingMemoryBound(to: Float.self)
  }

  /// A strip of a weight as bfloat16, and room for a padded remainder of the output.
  static func roundedStrip(width: Int, depth: Int) -> Int {
    width * (depth * 2 + Tile.rows * 4) + 64
  }

  /// The left operand as bfloat16, padded.
  static func roundedOperand(rows: Int, columns: Int) -> Int {
    (rows + Tile.largestRoundedRowStep - 1) * columns * 2
  }

  /// The scores of a block of queries, and in a backward pass their gradients.
  static func scores(keys: Int, isBackward: Bool) -> Int {
    (isBackward ? 2 : 1) * queryBlock * keys * 4
  }
}

/// Counts what a ``CPUBackend`` with these settings would hold.
package final class CPUWorkspaceMeter: WorkspaceMeter {
  private struct Sizes: Sendable {
    var worker = 0
    var operand = 0
    var call = 0
  }
  private let precision: Precision
  private let threadCount: Int
  private let hasNativeBFloat16: Bool
  private let sizes = Mutex(Sizes())

  package init(_ backend: CPUBackend) {
    precision = backend.precision
    threadCount = backend.threadCount
    hasNativeBFloat16 = backend.hasNativeBFloat16
  }

  package func linear(rows: Int, _ weight: BaseMatrix, isBackward: Bool, loraRank: Int?) {
    if rows == 0 { return }
    let (across, depth) =
      isBackward ? (weight.columns, weight.rows) : (weight.rows, weight.columns)
    let width = min(Tile.columns, across)
    sizes.withLock { sizes in
      if precision == .bfloat16 && !weight.isAlwaysFloat32 {
        sizes.worker = max(sizes.worker, CPUWorkspace.roundedStrip(width: width, depth: depth))
        sizes.operand = max(
          sizes.operand, CPUWorkspace.roundedOperand(rows: rows, columns: depth))
        let padded = min(Tile.rows, Tile.roundedRows(rows))
        if !hasNativeBFloat16 { sizes.call = max(sizes.call, 4 * depth * (padded + width)) }
      } else {
        sizes.worker = max(
          sizes.worker,
          CPUWorkspace.floatProduct(width: width, depth: depth, isDecoded: !weight.isFloat32))
      }
      // The library packs what it multiplies: a block of either operand.
      let packed = min(rows, 9984) * min(depth, 768) + min(depth, 768) * width
      sizes.call = max(sizes.call, 4 * packed)
    }
  }

  package func attention(_ shape: AttentionShape, isBackward: Bool) {
    let keys = shape.segments.map(\.keys.count).max() ?? 0
    sizes.withLock {
      $0.worker = max($0.worker, CPUWorkspace.scores(keys: keys, isBackward: isBackward))
    }
  }

  package var byteCount: Int {
    sizes.withLock { ($0.worker + $0.call) * threadCount + $0.operand }
  }
}

extension BaseMatrix {
  fileprivate var isFloat32: Bool {
    if case .dense(let values) = format { values.elementType == .float32 } else { false }
  }
}
