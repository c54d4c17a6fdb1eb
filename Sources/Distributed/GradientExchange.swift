package import Compute
package import Support

/// The exchange of adapter gradients: the only large thing that moves between ranks.
///
/// A rank adds the gradients of its packs in a binary counter of partial sums. Ranks swap slices
/// all to all, each adds up its own slice in the tree of ``PackTree``, updates that slice of the
/// weights, and the new weights are gathered. The sums are the same for any number of ranks, and
/// the optimizer's moments are held once across the ranks.
package final class GradientExchange {
  private let group: any ProcessGroup
  private let backend: any Backend
  package let slices: WeightSlices
  /// Free buffers of the flat vector's length.
  private var free: [Tensor] = []
  /// Partial sums of this rank, in order of packs.
  private var stack: [(node: PackTree.Node, sum: Tensor)] = []
  /// Slices of other ranks' partial sums.
  private let received: Tensor

  /// - Parameters:
  ///   - group: the ranks.
  ///   - elementCount: of the flat vector.
  ///   - maximumPackCount: the most packs of a step.
  ///   - backend: holds the buffers.
  /// - Throws: ``ComputeError`` when the device has too little memory.
  package init(
    group: any ProcessGroup, elementCount: Int, maximumPackCount: Int, backend: any Backend
  ) throws(ComputeError) {
    self.group = group
    self.backend = backend
    slices = WeightSlices(elementCount: elementCount, worldSize: group.worldSize)
    let counts = Self.bufferCounts(
      rank: group.rank, worldSize: group.worldSize, maximumPackCount: maximumPackCount)
    for _ in 0..<counts.vectors {
      free.append(
        Tensor(
          storage: try backend.makeStorage(byteCount: max(4 * elementCount, 4)),
          columns: elementCount))
    }
    let sliceCount = slices.range(ofRank: group.rank).count
    received = Tensor(
      storage: try backend.makeStorage(byteCount: max(4 * counts.slices * sliceCount, 4)),
      rows: counts.slices, columns: sliceCount)
  }

  /// How many buffers a rank needs.
  ///
  /// - Parameters:
  ///   - rank: whose.
  ///   - worldSize: ranks.
  ///   - maximumPackCount: the most packs of a step.
  /// - Returns: vectors of the adapters' length, and slices received from other ranks.
  package static func bufferCounts(rank: Int, worldSize: Int, maximumPackCount: Int) -> (
    vectors: Int, slices: Int
  ) {
    // Also a rank without packs gathers the moments for a checkpoint.
    var counts = (vectors: 1, slices: 0)
    for packCount in 1...max(maximumPackCount, 1) {
      var received = 0
      for other in 0..<worldSize {
        let run = PackRuns.run(ofRank: other, packCount: packCount, worldSize: worldSize)
        if other == rank {
          counts.vectors = max(counts.vectors, buffersNeeded(run))
        } else {
          received += PackTree.nodeCount(covering: run)
        }
      }
      counts.slices = max(counts.slices, received)
    }
    return counts
  }

  /// Buffers in use at the same time while a run of packs is added up.
  private static func buffersNeeded(_ packs: Range<Int>) -> Int {
    packs.isEmpty ? 0 : PackTree.mostNodes(coveringStartsOf: packs.dropLast()) + 1
  }

  /// A zeroed buffer for the gradients of the rank's next pack.
  package func makeGradients() throws(ComputeError) -> Tensor {
    guard let buffer = free.popLast() else { preconditionFailure("more packs than planned for") }
    try backend.zero(buffer)
    return buffer
  }

  /// Takes the finished gradients of a pack and adds up what is complete.
  ///
  /// - Parameters:
  ///   - gradients: from ``makeGradients()``.
  ///   - pack: its number in the step; packs come in ascending order.
  package func add(_ gradients: Tensor, ofPack pack: Int) throws(ComputeError) {
    stack.append((PackTree.Node(level: 0, index: pack), gradients))
    while stack.count >= 2, let last = stack.last, last.node.index % 2 == 1,
      stack[stack.count - 2].node
        == PackTree.Node(level: last.node.level, index: last.node.index - 1)
    {
      stack.removeLast()
      try backend.add(last.sum, to: stack[stack.count - 1].sum)
      stack[stack.count - 1].node = last.node.parent
      free.append(last.sum)
    }
  }

  /// Sums the gradients of all packs of all ranks.
  ///
  /// - Parameter packCount: packs of the step over all ranks.
  /// - Returns: this rank's slice of the sum; valid until the next step.
  /// - Throws: when a rank or the network fails.
  package func sum(packCount: Int) throws -> Tensor {
    defer {
      free += stack.map(\.sum)
      stack = []
    }
    let ranks = 0..<group.worldSize
    let nodes = ranks.map {
      PackTree.nodes(
        covering: PackRuns.run(ofRank: $0, packCount: packCount, worldSize: group.worldSize))
    }
    precondition(nodes[group.rank] == stack.map(\.node), "packs were not added in order")
    let ownSlice = slices.range(ofRank: group.rank)
    var present: [PackTree.Node: Tensor] = [:]
    for (node, sum) in stack { present[node] = sum.elements(ownSlice) }

    // One exchange for the first partial sum of every rank, one for the second, ...
    var row = 0
    for round in 0..<(nodes.map(\.count).max() ?? 0) {
      let mine = round < stack.count ? stack[round].sum : nil
      var receiveCounts = [Int](repeating: 0, count: group.worldSize)
      var receiveOffsets = receiveCounts
      for rank in ranks where rank != group.rank && round < nodes[rank].count {
        receiveCounts[rank] = 4 * ownSlice.count
        receiveOffsets[rank] = 4 * row * ownSlice.count
        present[nodes[rank][round]] = received.rows(row..<row + 1)
        row += 1
      }
      guard group.worldSize > 1 else { continue }
      // A rank without a partial sum in this round takes part with nothing, at no offset.
      let sent = ranks.map { mine == nil ? 0..<0 : slices.range(ofRank: $0) }
      let sendCounts = ranks.map { $0 == group.rank ? 0 : 4 * sent[$0].count }
      try unsafe group.allToAllV(
        mine.map { unsafe UnsafeRawBufferPointer(start: $0.address, count: $0.byteCount) }
          ?? UnsafeRawBufferPointer(start: nil, count: 0),
        sendCounts: sendCounts, sendOffsets: sent.map { 4 * $0.lowerBound },
        into: UnsafeMutableRawBufferPointer(start: received.address, count: received.byteCount),
        receiveCounts: receiveCounts, receiveOffsets: receiveOffsets)
    }
    guard let total = try value(PackTree.root(packCount: packCount), present) else {
      preconditionFailure("a step without packs")
    }
    return total
  }

  /// The sum at a node: given, or its children's, left plus right; nil where no pack lies below.
  private func value(_ node: PackTree.Node, _ present: [PackTree.Node: Tensor])
    throws(ComputeError) -> Tensor?
  {
    if let sum = present[node] { return sum }
    guard node.level > 0 else { return nil }
    let (leftNode, rightNode) = node.children
    let left = try value(leftNode, present)
    let right = try value(rightNode, present)
    if let left, let right { try backend.add(right, to: left) }
    return left ?? right
  }

  /// Gathers the slices of the weights that the ranks have updated.
  ///
  /// - Parameter weights: the flat vector; every rank's own slice is new.
  /// - Throws: ``UserError`` when a rank or the network fails.
  package func gatherWeights(_ weights: Tensor) throws(UserError) {
    guard group.worldSize > 1 else { return }
    try gather(weights)
  }

  /// The whole of a vector that the ranks hold in slices, on every rank.
  ///
  /// - Parameters:
  ///   - slice: this rank's slice.
  ///   - whole: of the flat vector's length; overwritten.
  package func gatherWhole(_ slice: Tensor, into whole: Tensor) throws {
    try backend.copy(slice, to: whole.elements(slices.range(ofRank: group.rank)))
    try gatherWeights(whole)
  }

  private func gather(_ flat: Tensor) throws(UserError) {
    let own = flat.elements(slices.range(ofRank: group.rank))
    try unsafe group.allGatherV(
      UnsafeRawBufferPointer(start: own.address, count: own.byteCount),
      into: UnsafeMutableRawBufferPointer(start: flat.address, count: flat.byteCount),
      counts: (0..<group.worldSize).map { 4 * slices.range(ofRank: $0).count })
  }

  /// A buffer of the flat vector's length that is free between steps.
  package func withFreeBuffer<Result>(_ body: (Tensor) throws -> Result) throws -> Result {
    guard let buffer = free.last else { preconditionFailure("no buffer is free inside a step") }
    return try body(buffer)
  }
}

/// Which packs of a step a rank takes.
package enum PackRuns {
  /// A contiguous run; the first ranks take one more when the packs do not divide.
  package static func run(ofRank rank: Int, packCount: Int, worldSize: Int) -> Range<Int> {
    let (base, rest) = packCount.quotientAndRemainder(dividingBy: worldSize)
    let first = rank * base + min(rank, rest)
    return first..<first + base + (rank < rest ? 1 : 0)
  }
}

/// How the flat vector of weights is divided over the ranks: in whole blocks, whose size depends on
/// the vector's length alone, so that sums over blocks are the same for any number of ranks.
package struct WeightSlices: Sendable {
  package let elementCount: Int
  package let worldSize: Int
  package let blockSize: Int

  /// Blocks of the vector, at most; their sums are gathered as scalars.
  private static let maximumBlockCount = 1024

  package init(elementCount: Int, worldSize: Int) {
    self.elementCount = elementCount
    self.worldSize = worldSize
    let size = (elementCount + Self.maximumBlockCount - 1) / Self.maximumBlockCount
    blockSize = max(64, (size + 63) / 64 * 64)
  }

  package var blockCount: Int { (elementCount + blockSize - 1) / blockSize }

  /// The blocks of a rank.
  package func blocks(ofRank rank: Int) -> Range<Int> {
    PackRuns.run(ofRank: rank, packCount: blockCount, worldSize: worldSize)
  }

  /// The elements of a rank.
  package func range(ofRank rank: Int) -> Range<Int> {
    let blocks = blocks(ofRank: rank)
    let end = min(blocks.upperBound * blockSize, elementCount)
    return min(blocks.lowerBound * blockSize, elementCount)..<end
  }
}
