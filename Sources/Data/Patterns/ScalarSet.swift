/// A set of Unicode code points as sorted ranges that do not touch.
struct ScalarSet: Equatable, Sendable {
  private(set) var ranges: [ClosedRange<UInt32>] = []

  static let lastScalar: UInt32 = 0x10FFFF
  static let all = ScalarSet(0...lastScalar)

  init() {}

  init(_ range: ClosedRange<UInt32>) { ranges = [range] }

  init(_ scalar: Unicode.Scalar) { ranges = [scalar.value...scalar.value] }

  /// The union of ranges in any order.
  init(union unordered: [ClosedRange<UInt32>]) {
    for range in unordered.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = ranges.last, range.lowerBound <= last.upperBound &+ 1 {
        let upper = max(last.upperBound, range.upperBound)
        ranges[ranges.count - 1] = last.lowerBound...upper
      } else {
        ranges.append(range)
      }
    }
  }

  var isEmpty: Bool { ranges.isEmpty }

  func contains(_ value: UInt32) -> Bool {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].lowerBound <= value
  }

  func union(_ other: ScalarSet) -> ScalarSet { ScalarSet(union: ranges + other.ranges) }

  var inverted: ScalarSet {
    var result = ScalarSet()
    var next: UInt32 = 0
    for range in ranges {
      if range.lowerBound > next { result.ranges.append(next...range.lowerBound - 1) }
      next = range.upperBound + 1
    }
    if next <= Self.lastScalar { result.ranges.append(next...Self.lastScalar) }
    return result
  }

  func intersection(_ other: ScalarSet) -> ScalarSet {
    inverted.union(other.inverted).inverted
  }
}
