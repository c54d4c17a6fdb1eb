/// Which packs of a step a rank takes.
package enum PackRuns {
  /// A contiguous run; the first ranks take one more when the packs do not divide.
  package static func run(ofRank rank: Int, packCount: Int, worldSize: Int) -> Range<Int> {
    let (base, rest) = packCount.quotientAndRemainder(dividingBy: worldSize)
    let first = rank * base + min(rank, rest)
    return first..<first + base + (rank < rest ? 1 : 0)
  }
}
