/// Byte-pair merging: joins neighbouring symbols, best pair first, until no pair has a merge.
///
/// Both tokenizer formats come down to a table from a pair of symbol ids to the joined symbol and
/// its priority; the lower priority is joined first, and of equals the leftmost.
struct BytePairMerger: Sendable {
  typealias Merge = PairTable.Merge

  /// A symbol of the text: `length` counts the first symbols that it is made of.
  struct Symbol {
    var id: Int32
    var length: Int32 = 1
    /// A frozen symbol takes part in no merge.
    var isFrozen = false
  }

  /// What was joined, and for each recorded id the pair it was last offered as.
  struct Outcome {
    var ids: [Int32] = []
    var splits: [Int32: (left: Int32, right: Int32)] = [:]
  }

  private var merges = PairTable()
  /// Ids whose pairs are reported in ``Outcome/splits``.
  var recordedIDs: Set<Int32> = []

  mutating func reserve(_ count: Int) { merges.reserve(count) }

  /// Sets the merge of a pair of ids that are not negative.
  mutating func add(left: Int32, right: Int32, _ merge: Merge) { merges.set(left, right, merge) }

  /// What merging a word needs; kept for the next one.
  struct Workspace: Sendable {
    fileprivate var offers: [Merge] = []
  }

  /// Words of more symbols are merged with a queue.
  private static let shortWord = 64
  private static let noOffer = Merge(priority: .infinity, id: -1)

  @inline(__always) private func offer(_ left: Int32, _ right: Int32) -> Merge {
    merges[left, right] ?? Self.noOffer
  }

  /// Merges the symbols of `ids` from `start` on in place.
  func merge(_ ids: inout [Int32], from start: Int, _ workspace: inout Workspace) {
    let count = ids.count - start
    guard count > 1 else { return }
    guard count <= Self.shortWord else {
      let merged = merge(ids[start...].map { Symbol(id: $0) }).ids
      ids.removeSubrange(start...)
      ids += merged
      return
    }
    if count == 2 {
      if let merge = merges[ids[start], ids[start + 1]] {
        ids.removeLast()
        ids[start] = merge.id
      }
      return
    }
    // A few symbols: looking through all offers is quicker than keeping them sorted.
    workspace.offers.removeAll(keepingCapacity: true)
    for index in start..<ids.count - 1 {
      workspace.offers.append(offer(ids[index], ids[index + 1]))
    }
    while true {
      var best = -1
      var priority = Float.infinity
      for index in workspace.offers.indices where workspace.offers[index].priority < priority {
        priority = workspace.offers[index].priority
        best = index
      }
      guard best >= 0 else { return }
      let place = start + best
      ids[place] = workspace.offers[best].id
      ids.remove(at: place + 1)
      workspace.offers.remove(at: best)
      if best > 0 { workspace.offers[best - 1] = offer(ids[place - 1], ids[place]) }
      if place + 1 < ids.count { workspace.offers[best] = offer(ids[place], ids[place + 1]) }
    }
  }

  /// Merges `symbols` to the end, in O(n log n).
  func merge(_ symbols: [Symbol]) -> Outcome {
    var outcome = Outcome()
    guard symbols.count > 1 else {
      outcome.ids = symbols.map(\.id)
      return outcome
    }
    var symbols = symbols
    // Indices of the neighbours; -1 at the ends. A symbol of length 0 was joined to its left.
    var previous = (0..<Int32(symbols.count)).map { $0 - 1 }
    var next = (1...Int32(symbols.count)).map { $0 < symbols.count ? $0 : -1 }
    var queue = MergeQueue()

    func offer(_ left: Int32, _ right: Int32) {
      guard left >= 0, right >= 0 else { return }
      let (first, second) = (symbols[Int(left)], symbols[Int(right)])
      guard !first.isFrozen, !second.isFrozen,
        first.id >= 0, second.id >= 0, let merge = merges[first.id, second.id]
      else { return }
      queue.push(
        MergeQueue.Entry(
          priority: merge.priority, left: left, id: merge.id, length: first.length + second.length))
      if recordedIDs.contains(merge.id) { outcome.splits[merge.id] = (first.id, second.id) }
    }

    for index in 1..<Int32(symbols.count) { offer(index - 1, index) }
    while let entry = queue.pop() {
      let left = Int(entry.left)
      let right = Int(next[left])
      // Symbols only grow, so an entry is current exactly when the lengths still add up.
      guard symbols[left].length > 0, right >= 0,
        symbols[left].length + symbols[right].length == entry.length
      else { continue }
      symbols[left].id = entry.id
      symbols[left].length = entry.length
      symbols[right].length = 0
      next[left] = next[right]
      if next[right] >= 0 { previous[Int(next[right])] = entry.left }
      offer(previous[left], entry.left)
      offer(entry.left, next[left])
    }
    outcome.ids = symbols.lazy.filter { $0.length > 0 }.map(\.id)
    return outcome
  }
}

/// A binary heap of candidate merges: lowest priority first, then leftmost.
private struct MergeQueue {
  struct Entry {
    var priority: Float
    var left: Int32
    var id: Int32
    var length: Int32

    func precedes(_ other: Entry) -> Bool {
      priority < other.priority || (priority == other.priority && left < other.left)
    }
  }

  private var heap: [Entry] = []

  mutating func push(_ entry: Entry) {
    heap.append(entry)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard entry.precedes(heap[parent]) else { break }
      heap[child] = heap[parent]
      child = parent
    }
    heap[child] = entry
  }

  mutating func pop() -> Entry? {
    guard let last = heap.popLast() else { return nil }
    guard let top = heap.first else { return last }
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
      guard heap[child].precedes(last) else { break }
      heap[parent] = heap[child]
      parent = child
    }
    heap[parent] = last
    return top
  }
}
