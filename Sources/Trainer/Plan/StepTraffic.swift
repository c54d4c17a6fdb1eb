internal import DistributedTraining

/// Bytes that all ranks together send in one optimizer step, by kind.
struct StepTraffic: Equatable {
  /// Slices of partial sums of gradients, all to all.
  var gradients = 0
  /// New adapter weights, gathered.
  var weights = 0
  /// Losses, and sums of squares for the norm.
  var scalars = 0
  /// Slabs of a sliced base.
  var base = 0

  var total: Int { gradients + weights + scalars + base }

  /// - Parameters:
  ///   - slices: how the adapters are divided over the ranks.
  ///   - packsPerStep: over all ranks.
  ///   - slabs: bytes of all slices of each slab of a sliced base, and over how many ranks; nil for none.
  ///   - tiesEmbeddings: whether the head is the embedding's slab.
  init(
    slices: WeightSlices, packsPerStep: Int,
    slabs: (byteCounts: [Int], ranks: Int)?, tiesEmbeddings: Bool
  ) {
    let worldSize = slices.worldSize
    guard worldSize > 1 else { return }
    let elementCount = slices.elementCount
    for rank in 0..<worldSize {
      let run = PackRuns.run(ofRank: rank, packCount: packsPerStep, worldSize: worldSize)
      let others = elementCount - slices.count(ofRank: rank)
      gradients += 4 * others * PackTree.nodes(covering: run).count
    }
    weights = 4 * elementCount * (worldSize - 1)
    // Two losses a pack, a double a block, and the count of bytes that the log adds up.
    scalars = 8 * (worldSize - 1) * (2 * packsPerStep + slices.blockCount + worldSize)
    if let slabs {
      let passes = (packsPerStep + worldSize - 1) / worldSize
      let gathered = Self.gathers(slabCount: slabs.byteCounts.count, tiesEmbeddings).reduce(0) {
        $0 + slabs.byteCounts[$1]
      }
      base = passes * gathered * (slabs.ranks - 1) * (worldSize / slabs.ranks)
    }
  }

  /// The slabs that one training pass gathers, in order: what ``ShardedLayers`` does when a pass
  /// like it came before.
  static func gathers(slabCount: Int, _ tiesEmbeddings: Bool) -> [Int] {
    let last = slabCount - 1
    var asked: [(index: Int, next: Int?)] = [(0, 1)]
    asked += (1..<last).map { ($0, $0 + 1) }
    asked.append((last, tiesEmbeddings ? 0 : last - 1))
    if tiesEmbeddings { asked.append((0, nil)) }
    asked += (1..<last).reversed().map { ($0, $0 - 1) }
    var contents: [Int?] = [nil, nil]
    var current = 0
    var gathered: [Int] = []
    for _ in 0..<2 {
      gathered = []
      for (index, next) in asked {
        if contents[current] != index {
          if contents[1 - current] != index {
            gathered.append(index)
            contents[1 - current] = index
          }
          current = 1 - current
        }
        if let next, next != index, contents[1 - current] != next {
          gathered.append(next)
          contents[1 - current] = next
        }
      }
    }
    return gathered
  }
}
