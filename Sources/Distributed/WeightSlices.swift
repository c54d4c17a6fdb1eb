/// How the flat vector of weights is divided over the ranks.
///
/// The vector is cut into buckets that follow from the adapters alone, so that a bucket's gradients
/// can travel as soon as the backward pass has left its layers. Every rank owns a piece of every
/// bucket, in whole blocks; the size of a block follows from the vector's length alone, so that sums
/// over blocks are the same for any number of ranks. A rank's slice is its pieces, one after
/// another.
package struct WeightSlices: Sendable {
  /// Neighbouring parts of the vector that travel together.
  package struct Bucket: Sendable, Equatable {
    package var elements: Range<Int>
    /// The parts that it holds; its gradients are final when the first of them is.
    package var parts: Range<Int>
  }

  /// What a rank owns of a bucket.
  package struct Piece: Sendable, Equatable {
    /// In the flat vector.
    package var elements: Range<Int>
    /// Where it begins in the rank's slice.
    package var offset: Int

    /// Its elements in the rank's slice.
    package var inSlice: Range<Int> { offset..<offset + elements.count }
  }

  package let elementCount: Int
  package let worldSize: Int
  package let blockSize: Int
  package let buckets: [Bucket]

  /// Blocks of the vector, about; their sums are gathered as scalars.
  private static let aimedBlockCount = 1024
  /// Smaller messages would spend their time on latency: 4 MB.
  package static let defaultBucketElementCount = 1 << 20

  /// - Parameters:
  ///   - parts: neighbouring ranges that cover the vector, one a layer, in its order.
  ///   - worldSize: ranks.
  ///   - bucketElementCount: buckets are filled with parts, from the last one down, until they have
  ///     so many elements.
  package init(
    parts: [Range<Int>], worldSize: Int, bucketElementCount: Int = defaultBucketElementCount
  ) {
    elementCount = parts.last?.upperBound ?? 0
    self.worldSize = worldSize
    let size = (elementCount + Self.aimedBlockCount - 1) / Self.aimedBlockCount
    blockSize = max(64, (size + 63) / 64 * 64)
    var buckets: [Bucket] = []
    var upper = parts.count
    for index in parts.indices.reversed() {
      let elements = parts[index].lowerBound..<parts[upper - 1].upperBound
      guard !elements.isEmpty, index == 0 || elements.count >= bucketElementCount else { continue }
      buckets.append(Bucket(elements: elements, parts: index..<upper))
      upper = index
    }
    self.buckets = buckets.reversed()
  }

  /// The blocks of all buckets.
  package var blockCount: Int { buckets.reduce(0) { $0 + blockCount($1) } }

  /// The blocks that a rank owns.
  package func blockCount(ofRank rank: Int) -> Int {
    buckets.reduce(0) { $0 + blocks($1, ofRank: rank).count }
  }

  /// A rank's piece of each bucket; empty ones too.
  package func pieces(ofRank rank: Int) -> [Piece] {
    var offset = 0
    return buckets.map { bucket in
      let blocks = blocks(bucket, ofRank: rank)
      let start = bucket.elements.lowerBound + blocks.lowerBound * blockSize
      let end = min(
        bucket.elements.lowerBound + blocks.upperBound * blockSize, bucket.elements.upperBound)
      let piece = Piece(elements: min(start, end)..<end, offset: offset)
      offset += piece.elements.count
      return piece
    }
  }

  /// Elements of a rank's slice.
  package func count(ofRank rank: Int) -> Int {
    pieces(ofRank: rank).reduce(0) { $0 + $1.elements.count }
  }

  /// A rank's slice of a flat vector.
  package func slice(ofRank rank: Int, of whole: [Float]) -> [Float] {
    pieces(ofRank: rank).flatMap { whole[$0.elements] }
  }

  /// Numbers of all blocks, in the order of the vector.
  ///
  /// - Parameter values: of the ranks' own blocks, bucket after bucket, rank after rank.
  /// - Returns: as many, in an order that does not depend on the number of ranks.
  package func inBlockOrder(_ values: [Double]) -> [Double] {
    var starts = [0]
    for rank in 0..<worldSize { starts.append(starts[rank] + blockCount(ofRank: rank)) }
    var ordered: [Double] = []
    for bucket in buckets {
      for rank in 0..<worldSize {
        let count = blocks(bucket, ofRank: rank).count
        ordered += values[starts[rank]..<starts[rank] + count]
        starts[rank] += count
      }
    }
    return ordered
  }

  private func blockCount(_ bucket: Bucket) -> Int {
    (bucket.elements.count + blockSize - 1) / blockSize
  }

  private func blocks(_ bucket: Bucket, ofRank rank: Int) -> Range<Int> {
    PackRuns.run(ofRank: rank, packCount: blockCount(bucket), worldSize: worldSize)
  }
}
