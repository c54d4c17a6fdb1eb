/// A text that is cut into pieces step by step.
struct TextPieces: Sendable {
  var bytes: [UInt8]
  /// The pieces in order, none of them empty.
  var ranges: [Range<Int>]
  /// Whether the first piece begins the whole text.
  let isStart: Bool
  /// The text continues another, so no space is put in front of its first piece.
  let isContinuation: Bool

  init(_ bytes: [UInt8], isStart: Bool, isContinuation: Bool) {
    self.bytes = bytes
    ranges = bytes.isEmpty ? [] : [0..<bytes.count]
    self.isStart = isStart
    self.isContinuation = isContinuation
  }

  /// Replaces every piece by another text.
  mutating func mapPieces(_ body: (_ piece: ArraySlice<UInt8>, _ isFirst: Bool) -> [UInt8]) {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + bytes.count / 4)
    for index in ranges.indices {
      let start = result.count
      result += body(bytes[ranges[index]], index == 0)
      ranges[index] = start..<result.count
    }
    bytes = result
  }
}

/// What happens to the matches of a pattern that pieces are split at.
enum SplitBehavior: String, Sendable {
  case removed = "Removed"
  case isolated = "Isolated"
  case mergedWithPrevious = "MergedWithPrevious"
  case mergedWithNext = "MergedWithNext"
  case contiguous = "Contiguous"
}

/// Collects the parts of one piece: matches and what is between them.
struct PieceSplitter {
  let behavior: SplitBehavior
  /// Whether what is between matches counts as match.
  let isInverted: Bool
  private(set) var ranges: [Range<Int>] = []
  private var position = 0
  private var last: Range<Int>?
  private var lastIsMatch = false

  init(_ behavior: SplitBehavior, isInverted: Bool, capacity: Int) {
    self.behavior = behavior
    self.isInverted = isInverted
    ranges.reserveCapacity(capacity)
  }

  mutating func begin(_ start: Int) {
    position = start
    last = nil
    lastIsMatch = false
  }

  /// Takes the next match.
  @inline(__always) mutating func match(_ start: Int, _ end: Int) {
    if position < start { part(position..<start, isMatch: isInverted) }
    part(start..<end, isMatch: !isInverted)
    position = end
  }

  mutating func finish(_ end: Int) {
    if position < end { part(position..<end, isMatch: isInverted) }
    keep()
  }

  private mutating func keep() {
    if let range = last, !range.isEmpty { ranges.append(range) }
    last = nil
  }

  @inline(__always) private mutating func part(_ range: Range<Int>, isMatch: Bool) {
    switch behavior {
    case .isolated: if !range.isEmpty { ranges.append(range) }
    case .removed: if !isMatch, !range.isEmpty { ranges.append(range) }
    case .contiguous: add(range, joins: isMatch == lastIsMatch)
    case .mergedWithPrevious: add(range, joins: isMatch && !lastIsMatch)
    case .mergedWithNext: add(range, joins: !isMatch && lastIsMatch)
    }
    lastIsMatch = isMatch
  }

  private mutating func add(_ range: Range<Int>, joins: Bool) {
    if joins, let before = last {
      last = before.lowerBound..<range.upperBound
    } else {
      keep()
      last = range
    }
  }
}
