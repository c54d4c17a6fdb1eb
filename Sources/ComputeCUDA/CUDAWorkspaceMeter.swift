package import Compute
internal import Synchronization

/// Counts what a ``CUDABackend`` holds besides tensors, such as rounded operands and decoded weights,
/// and lists the products that its library computes.
package final class CUDAWorkspaceMeter: WorkspaceMeter {
  private struct State {
    var byteCounts: [CUDAWorkspace.Part: Int] = [:]
    /// The most rows of each kind of product.
    var rows: [ProductShape: Int] = [:]
  }

  private let backend: CUDABackend
  private var precision: Precision { backend.precision }
  private let state = Mutex(State())

  package init(_ backend: CUDABackend) {
    self.backend = backend
    // What looks for numbers that are not finite while weights are read.
    take(.sums, 4 * CUDABackend.finiteBlockCount)
  }

  private func take(_ part: CUDAWorkspace.Part, _ byteCount: Int) {
    state.withLock { $0.byteCounts[part] = max($0.byteCounts[part] ?? 16, byteCount) }
  }

  package func linear(rows: Int, _ weight: BaseMatrix, isBackward: Bool, loraRank: Int?) {
    let isRounded = weight.isRounded(precision)
    let (C, N) = (weight.columns, weight.rows)
    let (columns, depth) = isBackward ? (C, N) : (N, C)
    func padded(_ count: Int) -> Int { isRounded ? CUDABackend.padded(count) : count }
    var (strideA, strideB) = (padded(depth), padded(C))
    var decodedRows = N
    var wholeDepth = isBackward ? N : strideA
    if let rank = loraRank {
      if CUDABackend.ridesAlong(weight, rank: rank, precision) {
        strideA += padded(rank)
        if isBackward {
          decodedRows = padded(N) + rank
          wholeDepth = decodedRows
        } else {
          strideB = strideA
          wholeDepth = strideA
        }
      } else {
        add(
          rows,
          ProductShape(
            columns: columns, depth: rank, strideA: rank, strideB: isBackward ? C : rank,
            isBFloat16: false, transposesB: !isBackward))
      }
    }
    let elementByteCount = isRounded ? 2 : 4
    if weight.isDecoded(precision) {
      take(.weight, elementByteCount * decodedRows * strideB)
    }
    if isRounded { take(.operand, 2 * rows * strideA) }
    add(
      rows,
      ProductShape(
        columns: columns, depth: wholeDepth, strideA: strideA, strideB: strideB,
        isBFloat16: isRounded, transposesB: !isBackward))
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

  package func outerProduct(rows: Int, _ gradient: Tensor) {
    let chunks = CUDABackend.chunkCount(rows)
    if chunks > 1 { take(.partialSums, chunks * gradient.byteCount) }
  }

  package func route(_ routing: Routing) {
    let rows = CUDABackend.countRows(routing.experts.count)
    take(.counts, 4 * rows * routing.probabilitySums.count)
  }

  package func sumsOfSquares(count: Int, blockSize: Int) {
    take(.sums, 8 * ((count + blockSize - 1) / blockSize))
  }

  package func attention(_ shape: AttentionShape, isBackward: Bool) {
    let queries = shape.segments.map(\.queries.upperBound).max() ?? 0
    let keys = shape.segments.map(\.keys.upperBound).max() ?? 0
    // No block is empty, however many samples there are.
    take(.queryBlocks, AttentionBlocks.byteCount * queries)
    take(.keyBlocks, AttentionBlocks.byteCount * keys)
    if isBackward { take(.deltas, 4 * queries * shape.queryHeads) }
    guard let width = backend.roundedWidth(shape.headWidth) else { return }
    take(.queries, 2 * width * queries * shape.queryHeads)
    if isBackward { take(.gradients, 2 * width * queries * shape.queryHeads) }
    take(.keys, 2 * width * keys * shape.keyValueHeads)
    take(.values, 2 * width * keys * shape.keyValueHeads)
  }

  /// What the backend holds from its start does not count: free memory is asked for later.
  package var byteCount: Int { partByteCounts.values.reduce(0, +) }

  /// By the names of ``CUDABackend/workspaceByteCounts``.
  package var partByteCounts: [String: Int] {
    let byteCounts = state.withLock { $0.byteCounts }
    return Dictionary(uniqueKeysWithValues: byteCounts.map { ($0.key.rawValue, $0.value) })
  }

  package func reserve() throws(ComputeError) {
    let byteCounts = state.withLock { $0.byteCounts }
    for part in CUDAWorkspace.Part.allCases {
      if let byteCount = byteCounts[part] {
        try backend.workspace.storage(part, byteCount: byteCount)
      }
    }
  }

  package var products: [ProductSizes] {
    state.withLock { state in
      state.rows.map { ProductSizes($0.key, largestRowCount: $0.value) }
    }
  }
}
