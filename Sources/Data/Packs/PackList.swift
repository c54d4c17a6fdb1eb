/// The packs of an epoch, in eight bytes a sample at most: an array for each would take fifty.
struct PackList: Sendable {
  /// Samples pack after pack.
  private var samples: [Int32] = []
  /// Where each pack begins and ends among these.
  private var ranges: [Range<Int32>]

  init() { ranges = [] }

  /// Packs that follow each other, each up to its end.
  init(samples: [Int32], ends: [Int32]) {
    self.samples = samples
    var start: Int32 = 0
    ranges = []
    ranges.reserveCapacity(ends.count)
    for end in ends {
      ranges.append(start..<end)
      start = end
    }
  }

  var count: Int { ranges.count }

  subscript(pack: Int) -> [Int] {
    let range = ranges[pack]
    return samples[Int(range.lowerBound)..<Int(range.upperBound)].map { Int($0) }
  }

  mutating func append(_ pack: [Int]) {
    let start = Int32(samples.count)
    for sample in pack { samples.append(Int32(sample)) }
    ranges.append(start..<Int32(samples.count))
  }

  /// Puts the packs into a random order.
  mutating func shuffle(_ generator: inout SeededGenerator) { generator.shuffle(&ranges) }
}
