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
    for pack in packs {
      nodes.append(Node(level: 0, index: pack))
      while nodes.count >= 2, let last = nodes.last, last.index % 2 == 1,
        nodes[nodes.count - 2] == Node(level: last.level, index: last.index - 1)
      {
        nodes.removeLast(2)
        nodes.append(last.parent)
      }
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
