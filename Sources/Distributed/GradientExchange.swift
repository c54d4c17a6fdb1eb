package import Compute
internal import Support

/// The exchange of adapter gradients: the only large thing that moves between ranks.
///
/// A rank adds the gradients of its packs in a binary counter of partial sums. Ranks swap slices
/// all to all, each adds up its own slice in the tree of ``PackTree``, updates that slice of the
/// weights, and the new weights are gathered. The sums are the same for any number of ranks, and
/// the optimizer's moments are held once across the ranks.
///
/// In the backward pass of a rank's last pack, each bucket of layers is sent as soon as it is final,
/// while the computation goes on.
package final class GradientExchange {
  private let group: any ProcessGroup
  private let backend: any Backend
  package let slices: WeightSlices
  private let pieces: [[WeightSlices.Piece]]
  /// Nil for a single rank.
  private let collectives: (any TensorCollectives)?
  /// Free buffers of the flat vector's length.
  private var free: [Tensor] = []
  /// Slices of other ranks' partial sums.
  private let received: Tensor

  // The step under way.

  /// The partial sums that each rank sends.
  private var nodes: [[PackTree.Node]] = []
  private var packCount = 0
  /// This rank's packs whose gradients are not made yet.
  private var packsLeft = 0..<0
  /// Partial sums of this rank, in order of packs; the last one is of the pack under way until all
  /// its buckets are final.
  private var stack: [(node: PackTree.Node, sum: Tensor)] = []
  /// Buckets of the pack under way that are not final, from the first on.
  private var openBucketCount = 0

  /// - Parameters:
  ///   - group: the ranks; all of them make the exchange together.
  ///   - slices: how the flat vector is divided over them.
  ///   - maximumPackCount: the most packs of a step.
  ///   - backend: holds the buffers.
  ///   - collectives: of the same ranks, for this exchange alone; nil goes through the group.
  /// - Throws: when the device has too little memory, or a rank fails.
  package init(
    group: any ProcessGroup, slices: WeightSlices, maximumPackCount: Int, backend: any Backend,
    collectives: (any TensorCollectives)? = nil
  ) throws {
    precondition(slices.worldSize == group.worldSize, "slices for \(slices.worldSize) ranks")
    self.group = group
    self.backend = backend
    self.slices = slices
    pieces = (0..<group.worldSize).map { slices.pieces(ofRank: $0) }
    self.collectives =
      if group.worldSize == 1 {
        nil
      } else if let collectives {
        collectives
      } else {
        try HostCollectives(try group.makeBackgroundGroup(), backend: backend)
      }
    let elementCount = slices.elementCount
    let counts = Self.bufferCounts(
      rank: group.rank, worldSize: group.worldSize, maximumPackCount: maximumPackCount)
    for _ in 0..<counts.vectors {
      free.append(
        Tensor(
          storage: try backend.makeStorage(byteCount: max(4 * elementCount, 4)),
          columns: elementCount))
    }
    let sliceCount = slices.count(ofRank: group.rank)
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

  /// Bytes that the exchange handed to other ranks since the start.
  package var bytesSent: Int { collectives?.bytesSent ?? 0 }

  // MARK: A step

  /// Begins a step.
  ///
  /// - Parameter packCount: packs of the step over all ranks.
  package func begin(packCount: Int) throws {
    precondition(packCount > 0, "a step without packs")
    precondition(stack.isEmpty, "the step before has not ended")
    self.packCount = packCount
    let runs = (0..<group.worldSize).map {
      PackRuns.run(ofRank: $0, packCount: packCount, worldSize: group.worldSize)
    }
    nodes = runs.map { PackTree.nodes(covering: $0) }
    packsLeft = runs[group.rank]
    // A rank without packs takes part from the start.
    if packsLeft.isEmpty { for bucket in slices.buckets.indices.reversed() { try send(bucket) } }
  }

  /// A zeroed buffer for the gradients of the rank's next pack, in ascending order.
  package func makeGradients() throws(ComputeError) -> Tensor {
    precondition(openBucketCount == 0, "the pack before is not finished")
    guard let pack = packsLeft.popFirst() else { preconditionFailure("all packs are done") }
    guard let buffer = free.popLast() else { preconditionFailure("more packs than planned for") }
    try backend.zero(buffer)
    stack.append((PackTree.Node(level: 0, index: pack), buffer))
    openBucketCount = slices.buckets.count
    return buffer
  }

  /// Takes the gradients of the parts from `part` on, which are final; adds up what is complete,
  /// and sends it with the rank's last pack.
  ///
  /// - Parameter part: its number among those of ``WeightSlices``; parts come in descending order.
  package func finish(from part: Int) throws {
    let merges = PackTree.mergeCount(stack.map(\.node))
    while openBucketCount > 0, slices.buckets[openBucketCount - 1].parts.lowerBound >= part {
      openBucketCount -= 1
      let range = slices.buckets[openBucketCount].elements
      for index in (stack.count - merges..<stack.count).reversed() {
        try backend.add(
          stack[index].sum.elements(range), to: stack[index - 1].sum.elements(range))
      }
      if packsLeft.isEmpty { try send(openBucketCount) }
    }
    guard openBucketCount == 0 else { return }
    for _ in 0..<merges {
      free.append(stack.removeLast().sum)
      stack[stack.count - 1].node = stack[stack.count - 1].node.parent
    }
  }

  /// Queues the exchange of a bucket: one all-to-all for the first partial sum of every rank, one
  /// for the second, ...
  private func send(_ bucket: Int) throws {
    guard let collectives else { return }
    let own = pieces[group.rank][bucket]
    var row = 0
    for round in 0..<(nodes.map(\.count).max() ?? 0) {
      var receives = [Tensor?](repeating: nil, count: group.worldSize)
      var sends = receives
      for rank in nodes.indices where rank != group.rank {
        if round < nodes[rank].count {
          receives[rank] = received.rows(row..<row + 1).elements(own.inSlice)
          row += 1
        }
        // A rank without a partial sum in this round takes part with nothing.
        if round < nodes[group.rank].count {
          sends[rank] = stack[round].sum.elements(pieces[rank][bucket].elements)
        }
      }
      try collectives.startAllToAll(sends, into: receives)
    }
  }

  /// Ends a step: waits for the other ranks' slices and adds them up.
  ///
  /// - Returns: the sum over all packs of this rank's piece of each bucket, flat; valid until the
  ///   next step.
  /// - Throws: when a rank or the network fails.
  package func sum() throws -> [Tensor] {
    precondition(packsLeft.isEmpty && openBucketCount == 0, "the rank's packs are not finished")
    precondition(nodes[group.rank] == stack.map(\.node), "packs were not added in order")
    if let collectives {
      try group.progress.waiting(in: "exchange") { try collectives.wait() }
    }
    defer {
      free += stack.map(\.sum)
      stack = []
    }
    return try pieces[group.rank].map { piece in
      var present: [PackTree.Node: Tensor] = [:]
      for (node, sum) in stack { present[node] = sum.elements(piece.elements) }
      var row = 0
      for round in 0..<(nodes.map(\.count).max() ?? 0) {
        for rank in nodes.indices where rank != group.rank && round < nodes[rank].count {
          present[nodes[rank][round]] = received.rows(row..<row + 1).elements(piece.inSlice)
          row += 1
        }
      }
      guard let total = try value(PackTree.root(packCount: packCount), present) else {
        preconditionFailure("a step without packs")
      }
      return total
    }
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

  /// The sum of squares of a vector that the ranks hold in slices, added block by block in the
  /// order of the vector.
  ///
  /// - Parameter own: this rank's piece of each bucket.
  /// - Returns: the same number on every rank, for any number of ranks.
  package func sumOfSquares(_ own: [Tensor]) throws -> Double {
    var sums: [Double] = []
    for piece in own where piece.columns > 0 {
      sums += try backend.sumsOfSquares(piece, blockSize: slices.blockSize)
    }
    let gathered = try group.allGather(
      sums, counts: (0..<group.worldSize).map { slices.blockCount(ofRank: $0) })
    return slices.inBlockOrder(gathered).reduce(0, +)
  }

  // MARK: Weights and moments

  /// Gathers the slices of the weights that the ranks have updated.
  ///
  /// - Parameter weights: the flat vector; every rank's own pieces are new.
  /// - Throws: ``UserError`` when a rank or the network fails.
  package func gatherWeights(_ weights: Tensor) throws {
    guard let collectives else { return }
    for (index, bucket) in slices.buckets.enumerated() {
      try collectives.startAllGather(
        weights.elements(pieces[group.rank][index].elements),
        into: weights.elements(bucket.elements),
        byteCounts: pieces.map { 4 * $0[index].elements.count })
    }
    try group.progress.waiting(in: "weights") { try collectives.wait() }
  }

  /// The whole of a vector that the ranks hold in slices, on every rank.
  ///
  /// - Parameters:
  ///   - slice: this rank's slice.
  ///   - whole: of the flat vector's length; overwritten.
  package func gatherWhole(_ slice: Tensor, into whole: Tensor) throws {
    for piece in pieces[group.rank] where !piece.elements.isEmpty {
      try backend.copy(slice.elements(piece.inSlice), to: whole.elements(piece.elements))
    }
    try gatherWeights(whole)
  }

  /// A buffer of the flat vector's length that is free between steps.
  package func withFreeBuffer<Result>(_ body: (Tensor) throws -> Result) throws -> Result {
    guard let buffer = free.last else { preconditionFailure("no buffer is free inside a step") }
    return try body(buffer)
  }
}
