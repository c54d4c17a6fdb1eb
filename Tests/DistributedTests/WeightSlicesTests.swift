import DistributedTraining
import Testing

/// How the flat vector is cut into buckets and divided over ranks.
@Suite struct WeightSlicesTests {
  /// Layers of different sizes, some empty, and a head.
  private static let vectors: [[Int]] = [
    [0], [1], [64], [1000], [70, 0, 70, 5], [0, 0, 0, 900], [5000, 5000, 5000, 0],
    [300, 300, 300, 300, 300, 300, 40000],
  ]

  private func parts(_ counts: [Int]) -> [Range<Int>] {
    var end = 0
    return counts.map { count in
      end += count
      return end - count..<end
    }
  }

  @Test(arguments: vectors, [1, 300, 1 << 20])
  func bucketsAndPiecesPartitionTheVector(_ counts: [Int], _ bucketElementCount: Int) {
    let count = counts.reduce(0, +)
    for ranks in 1...9 {
      let slices = WeightSlices(
        parts: parts(counts), worldSize: ranks, bucketElementCount: bucketElementCount)
      #expect(slices.buckets.flatMap { Array($0.elements) } == Array(0..<count))
      for (bucket, next) in zip(slices.buckets, slices.buckets.dropFirst()) {
        #expect(bucket.parts.upperBound == next.parts.lowerBound)
      }
      for bucket in slices.buckets.dropFirst() {
        #expect(bucket.elements.count >= bucketElementCount)
      }
      var owners = [Int](repeating: 0, count: count)
      for rank in 0..<ranks {
        let pieces = slices.pieces(ofRank: rank)
        #expect(
          pieces.flatMap { Array($0.inSlice) } == Array(0..<slices.count(ofRank: rank)))
        for (piece, bucket) in zip(pieces, slices.buckets) {
          #expect(
            bucket.elements.clamped(to: piece.elements) == piece.elements || piece.elements.isEmpty)
          for element in piece.elements { owners[element] += 1 }
        }
      }
      #expect(owners.allSatisfy { $0 == 1 })
      #expect((0..<ranks).reduce(0) { $0 + slices.blockCount(ofRank: $1) } == slices.blockCount)
    }
  }

  /// The order in which sums of blocks are added is that of one rank.
  @Test(arguments: vectors) func blocksKeepTheirOrder(_ counts: [Int]) {
    let parts = parts(counts)
    func blocks(_ slices: WeightSlices, _ rank: Int) -> [Double] {
      slices.pieces(ofRank: rank).flatMap { piece in
        stride(from: 0, to: piece.elements.count, by: slices.blockSize).map {
          Double(piece.elements.lowerBound + $0)
        }
      }
    }
    for bucketElementCount in [1, 300, 1 << 20] {
      let alone = WeightSlices(
        parts: parts, worldSize: 1, bucketElementCount: bucketElementCount)
      for ranks in 2...5 {
        let slices = WeightSlices(
          parts: parts, worldSize: ranks, bucketElementCount: bucketElementCount)
        let gathered = (0..<ranks).flatMap { blocks(slices, $0) }
        #expect(slices.inBlockOrder(gathered) == blocks(alone, 0))
      }
    }
  }

  /// A layer's gradients do not wait for those of the layers before it.
  @Test func aBucketHoldsNoMoreLayersThanItNeeds() {
    let parts = parts([10, 10, 10, 10, 0])
    let slices = WeightSlices(parts: parts, worldSize: 2, bucketElementCount: 15)
    #expect(slices.buckets.map(\.parts) == [0..<2, 2..<5])
    #expect(slices.buckets.map(\.elements) == [0..<20, 20..<40])
  }
}
