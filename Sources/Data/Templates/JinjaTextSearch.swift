/// Finds a text in others, in time linear in both (Knuth, Morris and Pratt).
struct JinjaTextSearch {
  /// In the order in which it is compared.
  private let pattern: [UInt8]
  /// How much of the pattern is still matched where the byte after so much does not fit.
  private let shorter: [Int]

  /// Prepares a search from left to right.
  init(first pattern: JinjaText) { self.init(pattern.bytes) }

  /// Prepares a search from right to left.
  init(last pattern: JinjaText) { self.init(pattern.bytes.reversed()) }

  private init(_ pattern: [UInt8]) {
    self.pattern = pattern
    var shorter = [Int](repeating: 0, count: pattern.count)
    var matched = 0
    for index in pattern.indices.dropFirst() {
      while matched > 0, pattern[index] != pattern[matched] { matched = shorter[matched - 1] }
      if pattern[index] == pattern[matched] { matched += 1 }
      shorter[index] = matched
    }
    self.shorter = shorter
  }

  /// Where the pattern begins first at or after `start`; nil where it does not.
  func first(in bytes: [UInt8], from start: Int, to end: Int) -> Int? {
    guard start <= end else { return nil }
    return find(in: end - start) { bytes[start + $0] }.map { start + $0 - pattern.count }
  }

  /// Where the pattern begins last before `end`; nil where it does not.
  func last(in bytes: [UInt8], to end: Int) -> Int? {
    find(in: end) { bytes[end - 1 - $0] }.map { end - $0 }
  }

  /// After how many bytes the whole pattern has been seen.
  @inline(__always)
  private func find(in count: Int, _ byte: (Int) -> UInt8) -> Int? {
    if pattern.isEmpty { return 0 }
    var matched = 0
    for index in 0..<count {
      let byte = byte(index)
      while matched > 0, byte != pattern[matched] { matched = shorter[matched - 1] }
      if byte == pattern[matched] { matched += 1 }
      if matched == pattern.count { return index + 1 }
    }
    return nil
  }
}
