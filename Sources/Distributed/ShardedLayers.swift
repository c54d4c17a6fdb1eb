package import Compute
internal import Support

/// A base of which each rank of a group holds a slice of every slab. A slab is gathered when it is
/// asked for; the one that follows is gathered meanwhile, by a thread of its own, into the second of
/// two buffers.
package final class ShardedLayers: LayerStream {
  private let slices: [Tensor]
  private let cuts: [[Int]]
  /// Where slabs are gathered, in the host's memory.
  private let buffers: [Tensor]
  private let thread: CommunicationThread
  /// What the device reads: the buffers themselves, where its memory is the host's.
  private let deviceBuffers: [Tensor]
  private let backend: any Backend
  /// What each buffer holds or is to hold; nil for nothing.
  private var contents: [Int?] = [nil, nil]
  private var current = 0

  /// - Parameters:
  ///   - slices: this rank's slice of each slab, `[1, bytes]` uint8 in the host's memory.
  ///   - byteCounts: of the whole slabs.
  ///   - group: the ranks that hold the slices; used by the gathering thread alone from now on.
  ///   - backend: holds the buffers.
  /// - Throws: when the device has too little memory or the system no thread.
  package init(
    slices: [Tensor], byteCounts: [Int], group: any ProcessGroup, backend: any Backend
  ) throws {
    self.slices = slices
    cuts = byteCounts.map { SlabSlices.byteCounts(slabByteCount: $0, worldSize: group.worldSize) }
    let largest = byteCounts.max() ?? 0
    var buffers: [Tensor] = []
    var deviceBuffers: [Tensor] = []
    for _ in 0..<2 {
      let buffer = Tensor(
        storage: try backend.makeStorage(byteCount: max(largest, 1)), columns: largest,
        elementType: .uint8)
      deviceBuffers.append(buffer)
      buffers.append(
        backend.hasHostMemory ? buffer : try backend.makeHostTensor(byteCount: largest))
    }
    self.buffers = buffers
    self.deviceBuffers = deviceBuffers
    self.backend = backend
    thread = try CommunicationThread(group)
  }

  package func slab(_ index: Int, next: Int?) throws -> Tensor {
    let isNew = contents[current] != index
    if contents[current] != index {
      let other = 1 - current
      if contents[other] != index {
        // Not announced: what was on its way is of no use, but every rank has started it.
        try thread.wait()
        start(index, into: other)
      }
      try thread.wait()
      current = other
    }
    let bytes = 0..<cuts[index].reduce(0, +)
    let whole = deviceBuffers[current].elements(bytes)
    if isNew && !backend.hasHostMemory {
      try backend.copy(buffers[current].elements(bytes), to: whole)
    }
    if let next, next != index, contents[1 - current] != next {
      try thread.wait()
      start(next, into: 1 - current)
    }
    return whole
  }

  private func start(_ index: Int, into buffer: Int) {
    contents[buffer] = index
    let slice = slices[index]
    let counts = cuts[index]
    let whole = buffers[buffer].elements(0..<counts.reduce(0, +))
    thread.start { group throws(UserError) in
      try unsafe group.allGatherV(
        UnsafeRawBufferPointer(start: slice.address, count: slice.byteCount),
        into: UnsafeMutableRawBufferPointer(start: whole.address, count: whole.byteCount),
        counts: counts)
    }
  }
}

/// How the bytes of a slab are divided over ranks: contiguous slices, cut where NF4 blocks and
/// their nested blocks end.
package enum SlabSlices {
  /// Bytes of codes of one nested block: 256 blocks of 64 elements, two to a byte.
  private static let unit = 256 * 64 / 2

  /// Bytes of each rank's slice.
  package static func byteCounts(slabByteCount: Int, worldSize: Int) -> [Int] {
    let units = (slabByteCount + unit - 1) / unit
    return (0..<worldSize).map { rank in
      let run = PackRuns.run(ofRank: rank, packCount: units, worldSize: worldSize)
      return min(run.upperBound * unit, slabByteCount) - min(run.lowerBound * unit, slabByteCount)
    }
  }

  /// The bytes of a rank's slice.
  package static func range(ofRank rank: Int, slabByteCount: Int, worldSize: Int) -> Range<Int> {
    let counts = byteCounts(slabByteCount: slabByteCount, worldSize: worldSize)
    let start = counts[..<rank].reduce(0, +)
    return start..<start + counts[rank]
  }
}
