/// The balanced binary tree in which the gradients of a step's packs are added.
///
/// Node (level, index) covers packs `index << level ..< (index + 1) << level`. It depends on the
/// number of packs alone, so that any division of the packs over ranks gives the same sums.
package enum PackTree {
  package struct Node: Hashable, Sendable {
    package var level: Int
    package var index: Int

    package init(level: Int, index: Int) {
      self.level = level
      self.index = index
    }

    package var packs: Range<Int> { index << level..<(index + 1) << level }
    var parent: Node { Node(level: level + 1, index: index >> 1) }
    var children: (Node, Node) {
      (Node(level: level - 1, index: 2 * index), Node(level: level - 1, index: 2 * index + 1))
    }
  }

  /// The fewest nodes that cover a run of packs, in order.
  package static func nodes(covering packs: Range<Int>) -> [Node] {
    var nodes: [Node] = []
    var start = packs.lowerBound
    while start < packs.upperBound {
      // The largest node that begins here and does not reach beyond the end.
      var level = 0
      while start % (2 << level) == 0 && start + (2 << level) <= packs.upperBound { level += 1 }
      nodes.append(Node(level: level, index: start >> level))
      start += 1 << level
    }
    return nodes
  }

  /// How many nodes cover a run of packs, without listing them.
  package static func nodeCount(covering packs: Range<Int>) -> Int {
    var count = 0
    var first = packs.lowerBound
    while first < packs.upperBound {
      first += largestNode(at: first, atMost: packs.upperBound - first)
      count += 1
    }
    return count
  }

  /// The most nodes that cover any range with the lower bound of `packs` that ends inside it or
  /// with it.
  package static func mostNodes(coveringStartsOf packs: Range<Int>) -> Int {
    var most = 0
    var count = 0
    var first = packs.lowerBound
    while first < packs.upperBound {
      let rest = packs.upperBound - first
      let aligned = first == 0 ? Int.max : first & -first
      // Inside one aligned node a start of n packs takes as many nodes as n has ones, and a number
      // up to m has at most floor(log2(m + 1)) of them.
      let within = min(rest, aligned - 1)
      most = max(most, count + (Int.bitWidth - 1 - (within + 1).leadingZeroBitCount))
      guard aligned <= rest else { break }
      first += aligned
      count += 1
      most = max(most, count)
    }
    return most
  }

  /// How many of a run's partial sums the last one completes, each with the one before it.
  static func mergeCount(_ nodes: [Node]) -> Int {
    var count = 0
    var last = nodes.last
    for before in nodes.dropLast().reversed() {
      guard let node = last, node.index % 2 == 1,
        before == Node(level: node.level, index: node.index - 1)
      else { break }
      count += 1
      last = node.parent
    }
    return count
  }

  /// Packs of the largest node that begins at a pack and holds no more than `limit`.
  private static func largestNode(at first: Int, atMost limit: Int) -> Int {
    let fitting = 1 << (Int.bitWidth - 1 - limit.leadingZeroBitCount)
    return first == 0 ? fitting : min(first & -first, fitting)
  }

  /// The node that covers packs 0 ..< count.
  package static func root(packCount: Int) -> Node {
    var level = 0
    while 1 << level < packCount { level += 1 }
    return Node(level: level, index: 0)
  }
}
