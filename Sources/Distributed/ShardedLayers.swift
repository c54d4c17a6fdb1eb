package import Compute
internal import Glibc
internal import Support

/// A base of which each rank of a group holds a slice of every slab. A slab is gathered when it is
/// asked for; the one that follows is gathered meanwhile, by a thread of its own, into the second of
/// two buffers.
package final class ShardedLayers: LayerStream {
  private let slices: [Tensor]
  private let cuts: [[Int]]
  private let buffers: [Tensor]
  private let gatherer: SlabGatherer
  /// What each buffer holds or is to hold; nil for nothing.
  private var contents: [Int?] = [nil, nil]
  private var current = 0

  /// - Parameters:
  ///   - slices: this rank's slice of each slab, `[1, bytes]` uint8.
  ///   - byteCounts: of the whole slabs.
  ///   - group: the ranks that hold the slices; used by the gathering thread alone from now on.
  ///   - backend: holds the buffers.
  /// - Throws: ``ComputeError`` when the device has too little memory.
  package init(
    slices: [Tensor], byteCounts: [Int], group: any ProcessGroup, backend: any Backend
  ) throws(ComputeError) {
    self.slices = slices
    cuts = byteCounts.map { SlabSlices.byteCounts(slabByteCount: $0, worldSize: group.worldSize) }
    let largest = byteCounts.max() ?? 0
    var buffers: [Tensor] = []
    for _ in 0..<2 {
      buffers.append(
        Tensor(
          storage: try backend.makeStorage(byteCount: max(largest, 1)), columns: largest,
          elementType: .uint8))
    }
    self.buffers = buffers
    gatherer = SlabGatherer(group: group)
  }

  deinit { gatherer.end() }

  package func slab(_ index: Int, next: Int?) throws -> Tensor {
    if contents[current] != index {
      let other = 1 - current
      if contents[other] != index {
        // Not announced: what was on its way is of no use, but every rank has started it.
        try gatherer.wait()
        start(index, into: other)
      }
      try gatherer.wait()
      current = other
    }
    let whole = buffers[current].elements(0..<cuts[index].reduce(0, +))
    if let next, next != index, contents[1 - current] != next {
      try gatherer.wait()
      start(next, into: 1 - current)
    }
    return whole
  }

  private func start(_ index: Int, into buffer: Int) {
    contents[buffer] = index
    gatherer.start(
      slices[index], into: buffers[buffer].elements(0..<cuts[index].reduce(0, +)),
      counts: cuts[index])
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

/// A thread that gathers one slab at a time.
///
/// `@unchecked Sendable` is sound because every field is read and written with `mutex` held, and
/// the buffer of a running gather is left alone until ``wait()`` returns.
@safe final class SlabGatherer: @unchecked Sendable {
  private struct Request {
    var slice: Tensor
    var whole: Tensor
    var counts: [Int]
  }

  private let group: any ProcessGroup
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var request: Request?
  private var failure: UserError?
  private var isEnding = false
  private var thread = pthread_t()

  init(group: any ProcessGroup) {
    self.group = group
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(changed, nil)
    let job = unsafe Unmanaged.passUnretained(self).toOpaque()
    let status = unsafe pthread_create(
      &thread, nil,
      { job in
        if let job = unsafe job {
          unsafe Unmanaged<SlabGatherer>.fromOpaque(job).takeUnretainedValue().serve()
        }
        return nil
      }, job)
    precondition(status == 0, "cannot start a thread: error \(status)")
  }

  deinit {
    unsafe mutex.deallocate()
    unsafe changed.deallocate()
  }

  /// Ends the thread, after the gather that runs.
  func end() {
    unsafe pthread_mutex_lock(mutex)
    isEnding = true
    unsafe pthread_cond_broadcast(changed)
    unsafe pthread_mutex_unlock(mutex)
    pthread_join(thread, nil)
  }

  /// Starts a gather; the one before must have been waited for.
  func start(_ slice: Tensor, into whole: Tensor, counts: [Int]) {
    unsafe pthread_mutex_lock(mutex)
    precondition(request == nil, "a gather is running")
    request = Request(slice: slice, whole: whole, counts: counts)
    unsafe pthread_cond_broadcast(changed)
    unsafe pthread_mutex_unlock(mutex)
  }

  /// Returns when no gather is running.
  func wait() throws(UserError) {
    unsafe pthread_mutex_lock(mutex)
    while request != nil { unsafe pthread_cond_wait(changed, mutex) }
    let failure = failure
    unsafe pthread_mutex_unlock(mutex)
    if let failure { throw failure }
  }

  private func serve() {
    unsafe pthread_mutex_lock(mutex)
    while true {
      while request == nil && !isEnding { unsafe pthread_cond_wait(changed, mutex) }
      guard let running = request else { break }
      unsafe pthread_mutex_unlock(mutex)
      var error: UserError?
      do throws(UserError) {
        try unsafe group.allGatherV(
          UnsafeRawBufferPointer(start: running.slice.address, count: running.slice.byteCount),
          into: UnsafeMutableRawBufferPointer(
            start: running.whole.address, count: running.whole.byteCount),
          counts: running.counts)
      } catch let thrown {
        error = thrown
      }
      unsafe pthread_mutex_lock(mutex)
      failure = failure ?? error
      request = nil
      unsafe pthread_cond_broadcast(changed)
    }
    unsafe pthread_mutex_unlock(mutex)
  }
}
