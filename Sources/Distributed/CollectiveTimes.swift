package import Support

/// How long the ranks take to send bytes to each other.
package struct CollectiveTimes {
  private let group: any ProcessGroup

  package init(_ group: any ProcessGroup) { self.group = group }

  /// The shortest time of an all-gather, over all tries, of its slowest rank.
  ///
  /// - Parameters:
  ///   - byteCount: of each rank.
  ///   - tries: how often it is done.
  /// - Returns: seconds.
  /// - Throws: ``UserError`` when a rank or the network fails.
  package func allGather(byteCount: Int, tries: Int) throws(UserError) -> Double {
    let send = [UInt8](repeating: UInt8(truncatingIfNeeded: group.rank), count: byteCount)
    var receive = [UInt8](repeating: 0, count: byteCount * group.worldSize)
    var best = Double.infinity
    for _ in 0..<tries {
      try group.barrier()
      let start = SteadyClock.seconds()
      let outcome: Result<Void, UserError> = unsafe send.withUnsafeBytes { send in
        unsafe receive.withUnsafeMutableBytes { receive in
          do throws(UserError) {
            return .success(try unsafe group.allGather(send, into: receive))
          } catch {
            return .failure(error)
          }
        }
      }
      try outcome.get()
      let times = try group.allGather([SteadyClock.seconds() - start])
      best = min(best, times.reduce(0) { max($0, $1[0]) })
    }
    return best
  }
}

extension ProcessGroup {
  /// The text of one rank, on every rank.
  package func broadcast(_ text: String, from root: Int) throws(UserError) -> String {
    let counts = try allGather([Double(text.utf8.count)])
    var bytes =
      rank == root
      ? Array(text.utf8) : [UInt8](repeating: 0, count: Int(counts[root][0]))
    let outcome: Result<Void, UserError> = unsafe bytes.withUnsafeMutableBytes { bytes in
      do throws(UserError) {
        return .success(try unsafe broadcast(bytes, from: root))
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
    return String(decoding: bytes, as: UTF8.self)
  }
}
