package import Support

/// Runs every collective of a group on known bytes and compares what arrives.
package struct CollectiveCheck {
  private let group: any ProcessGroup
  private let scale: Int
  private let findings = Findings()

  /// What was wrong. All collectives run all the same, so that the ranks stay together.
  private final class Findings { var first: String? }

  /// - Parameters:
  ///   - group: the ranks; all of them run the check.
  ///   - scale: transfers are up to a few times this many bytes.
  package init(_ group: any ProcessGroup, scale: Int = 1000) {
    self.group = group
    self.scale = scale
  }

  /// Runs all checks.
  ///
  /// - Throws: ``UserError`` that names the collective whose result is wrong.
  package func run() throws(UserError) {
    let others = group.worldSize - 1
    let sentBefore = group.bytesSent
    var expectedSent = 0

    for byteCount in [0, 1, scale - 1, scale] {
      try gather(counts: [Int](repeating: byteCount, count: group.worldSize))
      expectedSent += byteCount * others
    }
    // Uneven, and empty on the even ranks.
    let uneven = (0..<group.worldSize).map { $0 % 2 == 0 ? 0 : scale + $0 }
    try gather(counts: uneven)
    expectedSent += uneven[group.rank] * others

    expectedSent += try allToAll()

    for root in 0..<group.worldSize {
      try broadcast(root)
      if root == group.rank { expectedSent += (scale + 1) * others }
    }

    let gathered = try group.allGather([Double(group.rank), 0.5])
    expect(
      "all-gather of numbers", gathered == (0..<group.worldSize).map { [Double($0), 0.5] })
    let agreesOnTrue = try group.allAgree(true)
    let agreesOnPart = try group.allAgree(group.rank != 0)
    expect("agreement", agreesOnTrue && !agreesOnPart)
    expectedSent += (2 + 1 + 1) * MemoryLayout<Double>.size * others
    try group.barrier()
    expect("the count of bytes sent", group.bytesSent - sentBefore == expectedSent)
    try split()
    if let first = findings.first { throw UserError(.distributed, first) }
  }

  private func expect(_ what: String, _ isRight: Bool) {
    guard !isRight, findings.first == nil else { return }
    findings.first = "\(what) gave a wrong result on rank \(group.rank) of \(group.worldSize)"
  }

  /// Bytes that differ by sender, receiver and position.
  private func pattern(from source: Int, to target: Int = 0, count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: source &* 61 &+ target &* 17 &+ $0 &+ $0 >> 8) }
  }

  private func gather(counts: [Int]) throws(UserError) {
    let send = pattern(from: group.rank, count: counts[group.rank])
    var receive = [UInt8](repeating: 0xEE, count: counts.reduce(0, +))
    let outcome: Result<Void, UserError> = unsafe send.withUnsafeBytes { send in
      unsafe receive.withUnsafeMutableBytes { receive in
        do throws(UserError) {
          return .success(try unsafe group.allGatherV(send, into: receive, counts: counts))
        } catch {
          return .failure(error)
        }
      }
    }
    try outcome.get()
    let expected = counts.indices.flatMap { pattern(from: $0, count: counts[$0]) }
    expect("all-gather of \(counts) bytes", receive == expected)
  }

  /// Rank s sends `(s + 2t) % 3` times `scale` bytes, or none, to rank t.
  ///
  /// - Returns: how many bytes this rank sent to others.
  private func allToAll() throws(UserError) -> Int {
    let (rank, worldSize, scale) = (group.rank, group.worldSize, self.scale)
    func byteCount(_ source: Int, _ target: Int) -> Int { (source + 2 * target) % 3 * scale }
    func offsets(_ counts: [Int]) -> [Int] {
      counts.indices.map { index in counts[..<index].reduce(0, +) }
    }
    let sendCounts = (0..<worldSize).map { byteCount(rank, $0) }
    let receiveCounts = (0..<worldSize).map { byteCount($0, rank) }
    let send = (0..<worldSize).flatMap { pattern(from: rank, to: $0, count: sendCounts[$0]) }
    var receive = [UInt8](repeating: 0xEE, count: receiveCounts.reduce(0, +))
    let outcome: Result<Void, UserError> = unsafe send.withUnsafeBytes { send in
      unsafe receive.withUnsafeMutableBytes { receive in
        do throws(UserError) {
          return .success(
            try unsafe group.allToAllV(
              send, sendCounts: sendCounts, sendOffsets: offsets(sendCounts), into: receive,
              receiveCounts: receiveCounts, receiveOffsets: offsets(receiveCounts)))
        } catch {
          return .failure(error)
        }
      }
    }
    try outcome.get()
    let expected = (0..<worldSize).flatMap { pattern(from: $0, to: rank, count: receiveCounts[$0]) }
    expect("all-to-all", receive == expected)
    return sendCounts.reduce(0, +) - sendCounts[rank]
  }

  private func broadcast(_ root: Int) throws(UserError) {
    let expected = pattern(from: root, count: scale + 1)
    var bytes = root == group.rank ? expected : [UInt8](repeating: 0, count: scale + 1)
    let outcome: Result<Void, UserError> = unsafe bytes.withUnsafeMutableBytes { bytes in
      do throws(UserError) {
        return .success(try unsafe group.broadcast(bytes, from: root))
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
    expect("broadcast from rank \(root)", bytes == expected)
  }

  /// Even and odd ranks apart.
  private func split() throws(UserError) {
    let part = try group.split(color: group.rank % 2)
    let members = stride(from: group.rank % 2, to: group.worldSize, by: 2).map { [Double($0)] }
    let gathered = try part.allGather([Double(group.rank)])
    expect("a part of the ranks", gathered == members && part.rank == group.rank / 2)
    try part.shutdown()
  }
}
