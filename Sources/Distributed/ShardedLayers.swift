package import Compute

/// A base of which each rank of a group holds a slice of every slab. A slab is gathered when it is
/// asked for; the one that follows is gathered meanwhile, into the second of two buffers.
package final class ShardedLayers: LayerStream {
  private let slices: [Tensor]
  private let byteCounts: [Int]
  private let collectives: any TensorCollectives
  private let buffers: [Tensor]
  /// What each buffer holds or is to hold; nil for nothing.
  private var contents: [Int?] = [nil, nil]
  private var current = 0

  /// - Parameters:
  ///   - slices: this rank's slice of each slab, `[1, SlabSlices.byteCount]` uint8.
  ///   - byteCounts: of the whole slabs.
  ///   - collectives: of the ranks that hold the slices; nothing else uses them.
  ///   - backend: holds the buffers.
  /// - Throws: when the device has too little memory.
  package init(
    slices: [Tensor], byteCounts: [Int], collectives: any TensorCollectives, backend: any Backend
  ) throws {
    self.slices = slices
    self.byteCounts = byteCounts
    self.collectives = collectives
    let largest = SlabSlices.bufferByteCount(byteCounts, worldSize: collectives.worldSize)
    buffers = try (0..<2).map { _ in
      Tensor(
        storage: try backend.makeStorage(byteCount: max(largest, 1)), columns: largest,
        elementType: .uint8)
    }
  }

  package func slab(_ index: Int, next: Int?) throws -> Tensor {
    if contents[current] != index {
      let other = 1 - current
      if contents[other] != index {
        // Not announced: what was on its way is of no use, but every rank has started it.
        try collectives.wait()
        try start(index, into: other)
      }
      try collectives.wait()
      current = other
    }
    if let next, next != index, contents[1 - current] != next {
      try collectives.wait()
      try start(next, into: 1 - current)
    }
    return buffers[current].elements(0..<byteCounts[index])
  }

  private func start(_ index: Int, into buffer: Int) throws {
    contents[buffer] = index
    let count = slices[index].byteCount
    let world = collectives.worldSize
    try collectives.startAllGather(
      slices[index], into: buffers[buffer].elements(0..<world * count),
      byteCounts: [Int](repeating: count, count: world))
  }
}

/// How the bytes of a slab are divided over ranks: contiguous slices of one size, cut where NF4
/// blocks and their nested blocks end. The last ones may reach beyond the slab's end.
package enum SlabSlices {
  /// Bytes of codes of one nested block: 256 blocks of 64 elements, two to a byte.
  private static let unit = 256 * 64 / 2

  /// Bytes of every rank's slice.
  package static func byteCount(slabByteCount: Int, worldSize: Int) -> Int {
    let units = (slabByteCount + unit - 1) / unit
    return (units + worldSize - 1) / worldSize * unit
  }

  /// Bytes of a buffer in which any of the slabs can be gathered.
  package static func bufferByteCount(_ slabByteCounts: [Int], worldSize: Int) -> Int {
    let slices = slabByteCounts.map { byteCount(slabByteCount: $0, worldSize: worldSize) }
    return worldSize * (slices.max() ?? 0)
  }

  /// The bytes of the slab that a rank's slice holds.
  package static func range(ofRank rank: Int, slabByteCount: Int, worldSize: Int) -> Range<Int> {
    let count = byteCount(slabByteCount: slabByteCount, worldSize: worldSize)
    return min(rank * count, slabByteCount)..<min((rank + 1) * count, slabByteCount)
  }
}
