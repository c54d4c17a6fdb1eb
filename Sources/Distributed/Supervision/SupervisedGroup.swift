package import Support

/// A group whose collectives are reported while a rank waits in them.
package final class SupervisedGroup: ProcessGroup {
  private let base: any ProcessGroup
  package let progress: ProgressReporter

  package init(_ base: any ProcessGroup, progress: ProgressReporter) {
    self.base = base
    self.progress = progress
  }

  package var rank: Int { base.rank }
  package var worldSize: Int { base.worldSize }
  package var localRank: Int { base.localRank }
  package var localWorldSize: Int { base.localWorldSize }
  package var bytesSent: Int { base.bytesSent }

  package func allGatherV(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(UserError) {
    try progress.waiting(in: "all-gather") { () throws(UserError) in
      try unsafe base.allGatherV(send, into: receive, counts: counts)
    }
  }

  package func allToAllV(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int], sendOffsets: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int], receiveOffsets: [Int]
  ) throws(UserError) {
    try progress.waiting(in: "exchange") { () throws(UserError) in
      try unsafe base.allToAllV(
        send, sendCounts: sendCounts, sendOffsets: sendOffsets, into: receive,
        receiveCounts: receiveCounts, receiveOffsets: receiveOffsets)
    }
  }

  package func broadcast(
    _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws(UserError) {
    try progress.waiting(in: "broadcast") { () throws(UserError) in
      try unsafe base.broadcast(bytes, from: root)
    }
  }

  package func barrier() throws(UserError) {
    try progress.waiting(in: "barrier") { () throws(UserError) in try base.barrier() }
  }

  /// A group whose collectives are not reported.
  package func split(color: Int) throws(UserError) -> any ProcessGroup {
    try progress.waiting(in: "split") { () throws(UserError) in try base.split(color: color) }
  }

  package func makeBackgroundGroup() throws(UserError) -> any ProcessGroup {
    try progress.waiting(in: "split") { () throws(UserError) in try base.makeBackgroundGroup() }
  }

  package func shutdown() throws(UserError) {
    progress.enter(.finishing)
    try progress.waiting(in: "the end of MPI") { () throws(UserError) in try base.shutdown() }
  }
}
