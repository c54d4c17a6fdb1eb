/// Finds a text in others, in time linear in both (Knuth, Morris and Pratt).
struct JinjaTextSearch {
  private let pattern: [UInt8]

  init(_ pattern: JinjaText) { self.pattern = pattern.bytes }

  /// Where the pattern begins first at or after a byte; nil where it does not.
  func first(in bytes: [UInt8], from start: Int, to end: Int? = nil) -> Int? {
    let end = end ?? bytes.count
    guard let first = pattern.first else { return start <= end ? start : nil }
    guard start <= end - pattern.count else { return nil }
    if pattern.count == 1 { return bytes[start..<end].firstIndex(of: first) }
    return Self.find(count: pattern.count, steps: end - start) {
      pattern[$0]
    } byte: {
      bytes[start + $0]
    }.map { start + $0 - pattern.count }
  }

  /// Where the pattern begins last before a byte; nil where it does not.
  func last(in bytes: [UInt8], to end: Int? = nil) -> Int? {
    let end = end ?? bytes.count
    guard let last = pattern.last else { return end }
    guard pattern.count <= end else { return nil }
    if pattern.count == 1 { return bytes[..<end].lastIndex(of: last) }
    return Self.find(count: pattern.count, steps: end) {
      pattern[pattern.count - 1 - $0]
    } byte: {
      bytes[end - 1 - $0]
    }.map { end - $0 }
  }

  /// After how many bytes the whole pattern has been seen.
  @inline(__always)
  private static func find(
    count: Int, steps: Int, pattern: (Int) -> UInt8, byte: (Int) -> UInt8
  ) -> Int? {
    // How much of the pattern is still matched where its next byte does not fit.
    var shorter = [Int](repeating: 0, count: count)
    var matched = 0
    for index in 1..<count {
      while matched > 0, pattern(index) != pattern(matched) { matched = shorter[matched - 1] }
      if pattern(index) == pattern(matched) { matched += 1 }
      shorter[index] = matched
    }
    matched = 0
    for index in 0..<steps {
      let byte = byte(index)
      while matched > 0, byte != pattern(matched) { matched = shorter[matched - 1] }
      if byte == pattern(matched) { matched += 1 }
      if matched == count { return index + 1 }
    }
    return nil
  }
}
