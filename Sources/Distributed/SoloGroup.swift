package import Support

/// The group of a job with one rank: collectives copy, and MPI is never loaded.
package final class SoloGroup: ProcessGroup {
  package let rank = 0
  package let worldSize = 1
  package let localRank = 0
  package let localWorldSize = 1
  package let bytesSent = 0

  package init() {}

  package func allGatherV(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(UserError) {
    precondition(counts == [send.count] && receive.count == send.count)
    // A rank's bytes may already be at their place.
    if unsafe send.baseAddress != UnsafeRawPointer(receive.baseAddress) {
      unsafe receive.copyMemory(from: send)
    }
  }

  package func allToAllV(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int], sendOffsets: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int], receiveOffsets: [Int]
  ) throws(UserError) {
    precondition(sendCounts.count == 1 && receiveCounts == sendCounts)
    let source = unsafe send[sendOffsets[0]..<sendOffsets[0] + sendCounts[0]]
    let target = unsafe receive[receiveOffsets[0]..<receiveOffsets[0] + receiveCounts[0]]
    unsafe UnsafeMutableRawBufferPointer(rebasing: target)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: source))
  }

  package func broadcast(
    _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws(UserError) {
    precondition(root == 0)
  }

  package func barrier() throws(UserError) {}

  package func split(color: Int) throws(UserError) -> any ProcessGroup { SoloGroup() }

  package func shutdown() throws(UserError) {}
}
