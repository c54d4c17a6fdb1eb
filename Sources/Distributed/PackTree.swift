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

  /// The node that covers packs 0 ..< count.
  package static func root(packCount: Int) -> Node {
    var level = 0
    while 1 << level < packCount { level += 1 }
    return Node(level: level, index: 0)
  }
}
