/// Finds, for every position of a text, the longest of a set of byte strings that begins there, in
/// one pass whose time does not depend on how long the strings are.
///
/// The text is read from its end, by an automaton (Aho and Corasick's) of the reversed strings: the
/// longest of these that ends where the automaton stands is the longest string that begins there.
package struct LongestMatcher: Sendable {
  package struct Match: Sendable, Equatable {
    package var start: Int
    package var end: Int
    package var value: Int32

    package init(start: Int, end: Int, value: Int32) {
      self.start = start
      self.end = end
      self.value = value
    }
  }

  /// The reversed strings as a trie whose nodes are numbered level by level; node 0 is the root.
  /// The edges of node n are those from `edgeStarts[n]` on, ordered by byte.
  private var edgeStarts: [Int32] = [0, 0]
  private var edgeBytes: [UInt8] = []
  private var edgeNodes: [Int32] = []
  /// Where each byte leads from the root; 0 for nowhere.
  private var rootNodes = [Int32](repeating: 0, count: 256)
  /// The longest other suffix of a node's text that is a node.
  private var failures: [Int32] = [0]
  /// The string that is the longest suffix of a node's text; -1 for none.
  private var strings: [Int32] = [-1]
  private var counts: [Int] = []
  private var values: [Int32] = []

  /// - Parameter patterns: byte strings with what they stand for. An empty one is left out; one that
  ///   is there already keeps its first value.
  package init(_ patterns: [(bytes: [UInt8], value: Int32)] = []) {
    // First as it comes: (node, byte) to the next node.
    var edges: [UInt64: Int32] = [:]
    var ends: [Int32] = [-1]
    for (bytes, value) in patterns where !bytes.isEmpty {
      var node: Int32 = 0
      for byte in bytes.reversed() {
        let key = UInt64(node) << 8 | UInt64(byte)
        if let next = edges[key] {
          node = next
        } else {
          node = Int32(ends.count)
          edges[key] = node
          ends.append(-1)
        }
      }
      guard ends[Int(node)] < 0 else { continue }
      ends[Int(node)] = Int32(counts.count)
      counts.append(bytes.count)
      values.append(value)
    }
    guard !counts.isEmpty else { return }
    lay(edges, ends)
    link()
  }

  var isEmpty: Bool { counts.isEmpty }

  /// Numbers the nodes level by level.
  private mutating func lay(_ edges: [UInt64: Int32], _ ends: [Int32]) {
    let sorted = edges.keys.sorted()
    var firstEdges = [Int32](repeating: 0, count: ends.count + 1)
    for key in sorted { firstEdges[Int(key >> 8) + 1] += 1 }
    for node in ends.indices { firstEdges[node + 1] += firstEdges[node] }
    var order: [Int32] = [0]
    order.reserveCapacity(ends.count)
    edgeStarts = [0]
    strings = []
    var position = 0
    while position < order.count {
      let old = Int(order[position])
      strings.append(ends[old])
      for index in Int(firstEdges[old])..<Int(firstEdges[old + 1]) {
        edgeBytes.append(UInt8(truncatingIfNeeded: sorted[index]))
        edgeNodes.append(Int32(order.count))
        order.append(edges[sorted[index]] ?? 0)
      }
      edgeStarts.append(Int32(edgeBytes.count))
      position += 1
    }
    for index in 0..<Int(edgeStarts[1]) { rootNodes[Int(edgeBytes[index])] = edgeNodes[index] }
  }

  private mutating func link() {
    failures = [Int32](repeating: 0, count: strings.count)
    for node in strings.indices {
      for index in Int(edgeStarts[node])..<Int(edgeStarts[node + 1]) {
        let child = Int(edgeNodes[index])
        if node > 0 { failures[child] = step(from: failures[node], edgeBytes[index]) }
        if strings[child] < 0 { strings[child] = strings[Int(failures[child])] }
      }
    }
  }

  /// The node of the longest suffix of a node's text with a byte more.
  private func step(from start: Int32, _ byte: UInt8) -> Int32 {
    var node = start
    while node != 0 {
      if let next = child(of: node, byte) { return next }
      node = failures[Int(node)]
    }
    return rootNodes[Int(byte)]
  }

  private func child(of node: Int32, _ byte: UInt8) -> Int32? {
    var (low, high) = (Int(edgeStarts[Int(node)]), Int(edgeStarts[Int(node) + 1]))
    while low < high {
      let middle = (low + high) / 2
      let found = edgeBytes[middle]
      if found == byte { return edgeNodes[middle] }
      if found < byte { low = middle + 1 } else { high = middle }
    }
    return nil
  }

  /// The longest match at each position that has one, in order; they may overlap.
  package func matches(in bytes: [UInt8]) -> [Match] {
    guard !isEmpty else { return [] }
    var result: [Match] = []
    var node: Int32 = 0
    let text = bytes.span
    for position in stride(from: text.count - 1, through: 0, by: -1) {
      node = node == 0 ? rootNodes[Int(text[position])] : step(from: node, text[position])
      guard node != 0 else { continue }
      let string = Int(strings[Int(node)])
      guard string >= 0 else { continue }
      result.append(
        Match(start: position, end: position + counts[string], value: values[string]))
    }
    result.reverse()
    return result
  }
}

extension LongestMatcher {
  /// Gives the matches of a text to someone who goes through it from left to right.
  struct Cursor {
    private let matches: [Match]
    private var index = 0

    init(_ matches: [Match]) { self.matches = matches }

    /// The match at a position, which never lies before an earlier one.
    mutating func match(at position: Int) -> Match? {
      while index < matches.count, matches[index].start < position { index += 1 }
      return index < matches.count && matches[index].start == position ? matches[index] : nil
    }
  }
}
