import DistributedTraining
import Testing

/// The tree in which gradients of packs are added.
@Suite struct PackTreeTests {
  @Test func countsAgreeWithTheNodesThemselves() {
    for first in 0...40 {
      var most = 0
      for end in first...first + 70 {
        let nodes = PackTree.nodes(covering: first..<end)
        most = max(most, nodes.count)
        #expect(PackTree.nodeCount(covering: first..<end) == nodes.count, "\(first)..<\(end)")
        #expect(PackTree.mostNodes(coveringStartsOf: first..<end) == most, "\(first)..<\(end)")
        #expect(nodes.flatMap { Array($0.packs) } == Array(first..<end))
      }
    }
  }

  /// Planning for many packs a step must take no noticeable time.
  @Test(.timeLimit(.minutes(1))) func countingAMillionPacksIsQuick() {
    var total = 0
    for count in stride(from: 1, through: 1 << 20, by: 1) {
      total += PackTree.mostNodes(coveringStartsOf: count / 3..<count)
    }
    #expect(total > 0)
  }
}
