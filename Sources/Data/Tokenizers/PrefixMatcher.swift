/// Finds the longest of a set of byte strings that a text has at a position.
struct PrefixMatcher: Sendable {
  /// The byte strings as a trie: (node, byte) to the next node; node 0 is the root.
  private var edges: [UInt64: Int32] = [:]
  private var values: [Int32?] = [nil]
  private var firstBytes = [Bool](repeating: false, count: 256)

  var isEmpty: Bool { edges.isEmpty }

  /// Adds `pattern`, which is not empty; a pattern that is there already keeps its first value.
  mutating func add(_ pattern: [UInt8], value: Int32) {
    firstBytes[Int(pattern[0])] = true
    var node: Int32 = 0
    for byte in pattern {
      let key = UInt64(node) << 8 | UInt64(byte)
      if let next = edges[key] {
        node = next
      } else {
        node = Int32(values.count)
        edges[key] = node
        values.append(nil)
      }
    }
    if values[Int(node)] == nil { values[Int(node)] = value }
  }

  /// The longest pattern that `bytes` has from `start` on, inside `start..<end`.
  func longestMatch(in bytes: [UInt8], from start: Int, to end: Int)
    -> (value: Int32, count: Int)?
  {
    guard start < end, firstBytes[Int(bytes[start])] else { return nil }
    var best: (value: Int32, count: Int)?
    var node: Int32 = 0
    for position in start..<end {
      guard let next = edges[UInt64(node) << 8 | UInt64(bytes[position])] else { break }
      node = next
      if let value = values[Int(node)] { best = (value, position + 1 - start) }
    }
    return best
  }
}
