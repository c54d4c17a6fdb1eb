package import Support

/// A set of ranks that run collectives over bytes in host memory.
///
/// Every rank of the group issues the same collectives in the same order. One group is used by
/// one thread at a time; a second thread (for example one that prefetches) takes its own group
/// from ``makeBackgroundGroup()``. Sizes of zero are fine everywhere.
package protocol ProcessGroup: AnyObject, Sendable {
  /// This process's number in the group, from 0.
  var rank: Int { get }
  var worldSize: Int { get }
  /// This process's number among the ranks of the group on its host.
  var localRank: Int { get }
  var localWorldSize: Int { get }

  /// Bytes that this rank handed to other ranks since the start: what it contributed to each
  /// collective, times the ranks it went to. It does not depend on the algorithm.
  var bytesSent: Int { get }

  /// Where this rank says what it does, for whoever supervises the job.
  var progress: ProgressReporter { get }

  /// Concatenates every rank's bytes on all ranks, in the order of the ranks.
  ///
  /// - Parameters:
  ///   - send: `counts[rank]` bytes; may lie at its own place inside `receive`.
  ///   - receive: the sum of `counts` in bytes; overwritten.
  ///   - counts: bytes of each rank, the same on all ranks.
  /// - Throws: ``UserError`` of kind `distributed`.
  func allGatherV(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(UserError)

  /// Sends bytes of each rank to each other rank.
  ///
  /// - Parameters:
  ///   - send: what this rank sends; rank r gets `sendCounts[r]` bytes from `sendOffsets[r]`.
  ///   - sendCounts: bytes for each rank.
  ///   - sendOffsets: where they begin in `send`.
  ///   - receive: rank r's bytes arrive at `receiveOffsets[r]`; must not overlap `send`.
  ///   - receiveCounts: bytes from each rank, equal to what that rank sends.
  ///   - receiveOffsets: where they are written in `receive`.
  /// - Throws: ``UserError`` of kind `distributed`.
  func allToAllV(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int], sendOffsets: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int], receiveOffsets: [Int]
  ) throws(UserError)

  /// Copies the bytes of rank `root` to all ranks.
  ///
  /// - Parameters:
  ///   - bytes: as many on every rank; overwritten except on `root`.
  ///   - root: the rank whose bytes are copied.
  /// - Throws: ``UserError`` of kind `distributed`.
  func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws(UserError)

  /// Returns when every rank has arrived.
  func barrier() throws(UserError)

  /// A new group of the ranks that pass the same color, in the order of their ranks here.
  ///
  /// All ranks of this group call it.
  ///
  /// - Parameter color: 0 or more; which of the new groups this rank joins.
  /// - Returns: the new group.
  /// - Throws: ``UserError`` of kind `distributed`.
  func split(color: Int) throws(UserError) -> any ProcessGroup

  /// A copy of the group for a thread that works beside the computation: it waits without keeping
  /// a core busy. All ranks of this group call it.
  ///
  /// - Returns: the new group.
  /// - Throws: ``UserError`` of kind `distributed`.
  func makeBackgroundGroup() throws(UserError) -> any ProcessGroup

  /// Leaves the job at its normal end; every rank calls it, and no collective follows.
  func shutdown() throws(UserError)
}

extension ProcessGroup {
  /// A reporter that nobody listens to.
  package var progress: ProgressReporter { UnobservedProgress.reporter }

  package func makeBackgroundGroup() throws(UserError) -> any ProcessGroup { try split(color: 0) }
}

private enum UnobservedProgress {
  static let reporter = ProgressReporter()
}

extension ProcessGroup {
  /// Concatenates equal numbers of bytes of every rank on all ranks.
  ///
  /// - Parameters:
  ///   - send: this rank's bytes, as many on every rank.
  ///   - receive: `worldSize` times as many; overwritten.
  /// - Throws: ``UserError`` of kind `distributed`.
  package func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer
  ) throws(UserError) {
    precondition(
      receive.count == send.count * worldSize,
      "allGather: \(send.count) bytes of \(worldSize) ranks do not fill \(receive.count)")
    try unsafe allGatherV(
      send, into: receive, counts: [Int](repeating: send.count, count: worldSize))
  }

  /// The numbers of every rank, by rank. Every rank passes as many.
  package func allGather(_ values: [Double]) throws(UserError) -> [[Double]] {
    var gathered = [Double](repeating: 0, count: values.count * worldSize)
    // The closures of the standard library do not carry typed errors through, so the result does.
    let outcome: Result<Void, UserError> = unsafe values.withUnsafeBytes { send in
      unsafe gathered.withUnsafeMutableBytes { receive in
        do throws(UserError) {
          return .success(try unsafe allGather(send, into: receive))
        } catch {
          return .failure(error)
        }
      }
    }
    try outcome.get()
    return (0..<worldSize).map { rank in
      Array(gathered[rank * values.count..<(rank + 1) * values.count])
    }
  }

  /// Whether `flag` is true on every rank.
  package func allAgree(_ flag: Bool) throws(UserError) -> Bool {
    try allGather([flag ? 1.0 : 0.0]).allSatisfy { $0 == [1] }
  }
}

extension ProcessGroup {
  /// Concatenates lists of different lengths of all ranks, in the order of the ranks.
  ///
  /// - Parameters:
  ///   - values: `counts[rank]` numbers.
  ///   - counts: of each rank, the same on all ranks.
  /// - Returns: the sum of `counts` numbers.
  /// - Throws: ``UserError`` of kind `distributed`.
  package func allGather(_ values: [Double], counts: [Int]) throws(UserError) -> [Double] {
    precondition(values.count == counts[rank], "\(values.count) values, not \(counts[rank])")
    let longest = counts.max() ?? 0
    let padded = values + [Double](repeating: 0, count: longest - values.count)
    var result: [Double] = []
    for (part, count) in zip(try allGather(padded), counts) { result += part.prefix(count) }
    return result
  }
}

extension ProcessGroup {
  /// The text of rank 0, on every rank.
  package func broadcast(_ text: String) throws(UserError) -> String {
    let lengths = try allGather([Double(text.utf8.count)])
    var bytes = [UInt8](repeating: 0, count: Int(lengths[0][0]))
    if rank == 0 { bytes = Array(text.utf8) }
    try broadcast(array: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The elements of rank 0, on every rank; as many everywhere.
  package func broadcast<Element: BitwiseCopyable>(array: inout [Element]) throws(UserError) {
    let outcome: Result<Void, UserError> = unsafe array.withUnsafeMutableBytes { bytes in
      do throws(UserError) {
        return .success(try unsafe broadcast(bytes, from: 0))
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
  }
}
