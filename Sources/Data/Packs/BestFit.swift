/// Best-fit-decreasing packing: long samples first, each into the fullest pack that still has room.
enum BestFit {
  /// Forms packs of one window of samples.
  ///
  /// - Parameters:
  ///   - window: sample indices in their order of this epoch.
  ///   - lengths: tokens of every sample, none above `capacity`.
  ///   - capacity: the most tokens of a pack.
  /// - Returns: packs, each with its samples in window order.
  static func packs(_ window: ArraySlice<Int>, lengths: [Int32], capacity: Int) -> [[Int]] {
    // Positions in the window; those of one length keep their order.
    let order = window.indices.sorted {
      (lengths[window[$1]], $0) < (lengths[window[$0]], $1)
    }
    var members: [[Int]] = []
    /// Packs by room left, then by age.
    var open: [(room: Int, pack: Int)] = []
    for position in order {
      let length = Int(lengths[window[position]])
      var entry: (room: Int, pack: Int)
      let fitting = firstIndex(in: open, notBefore: (length, 0))
      if fitting < open.count {
        entry = open.remove(at: fitting)
        members[entry.pack].append(position)
      } else {
        entry = (capacity, members.count)
        members.append([position])
      }
      entry.room -= length
      guard entry.room > 0 else { continue }
      open.insert(entry, at: firstIndex(in: open, notBefore: entry))
    }
    return members.map { $0.sorted().map { window[$0] } }
  }

  private static func firstIndex(
    in open: [(room: Int, pack: Int)], notBefore entry: (room: Int, pack: Int)
  ) -> Int {
    var (low, high) = (0, open.count)
    while low < high {
      let middle = (low + high) / 2
      if open[middle] < entry { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
