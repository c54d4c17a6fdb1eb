/// A regular expression that finds its matches in time linear in the text, whatever it is.
package struct Pattern: Sendable {
  private let machine: PatternMachine
  /// Nil where the table would be too large; matches are then found from the end of the text.
  private let automaton: PatternAutomaton?

  /// Compiles an expression in Oniguruma's syntax.
  package init(_ text: String) throws(PatternError) { try self.init(PatternParser.parse(text)) }

  /// A pattern that finds `text` itself.
  package init(literal text: String) throws(PatternError) {
    guard text.utf8.count <= PatternParser.lengthLimit else {
      throw PatternError(reason: "it is longer than \(PatternParser.lengthLimit) bytes")
    }
    try self.init(.sequence(text.unicodeScalars.map { .set(ScalarSet($0)) }))
  }

  init(_ node: PatternNode) throws(PatternError) {
    machine = try PatternMachine(node)
    automaton = PatternAutomaton(machine)
  }

  /// Calls `body` with every match in `range`, from left to right; none overlap.
  ///
  /// - Parameters:
  ///   - bytes: valid UTF-8.
  ///   - range: the text; nothing outside of it is looked at.
  ///   - body: takes where a match begins and ends.
  /// - Throws: `PatternError` for a pattern of very many ways on a long text.
  @inline(__always)
  package func forEachMatch(
    in bytes: [UInt8], _ range: Range<Int>, _ body: (_ start: Int, _ end: Int) -> Void
  ) throws(PatternError) {
    var search = Search(position: range.lowerBound)
    guard let automaton, machine.aheads.isEmpty else {
      return try slowMatches(bytes, range, &search, body)
    }
    let table = automaton.table
    let stride = automaton.stride
    let alphabet = machine.alphabet
    let byteClasses = alphabet.byteClasses
    let end = range.upperBound
    // Characters that were read and given back. When they become many, as in a text that makes
    // every search run to its end, the rest is matched in the slow way, which reads each once.
    var wasteLeft = 8 * range.count + 4096
    let plainStart = automaton.startStates[alphabet.count]
    while search.position <= end {
      let start = search.position
      var state =
        !machine.looksBack || start == range.lowerBound
        ? Int(plainStart)
        : Int(
          automaton.startStates[
            alphabet.characterBefore(bytes, start, from: range.lowerBound).class])
      var position = start
      var matchEnd = -1
      while state != 0 {
        guard position < end else {
          if table[state * stride + alphabet.count] & 1 == 1 { matchEnd = position }
          break
        }
        var symbol = Int(byteClasses[Int(bytes[position])])
        var count = 1
        if symbol == Int(PatternAlphabet.longer) {
          let (scalar, length) = UTF8Scanner.decode(bytes, position)
          symbol = Int(alphabet.classOf(scalar))
          count = length
        }
        let entry = Int(table[state * stride + symbol])
        if entry & 1 == 1 { matchEnd = position }
        state = entry >> 1
        position += count
      }
      wasteLeft -= position - max(matchEnd, start)
      search.take(start, matchEnd, bytes, end, body)
      if wasteLeft < 0 { return try slowMatches(bytes, range, &search, body) }
    }
  }

  /// Where a search stands.
  private struct Search {
    var position: Int
    var lastEnd = -1

    /// Goes on after what was found at `start`; `end` is negative where there is no match.
    @inline(__always)
    mutating func take(
      _ start: Int, _ matchEnd: Int, _ bytes: [UInt8], _ end: Int,
      _ body: (_ start: Int, _ end: Int) -> Void
    ) {
      if matchEnd > start {
        body(start, matchEnd)
        lastEnd = matchEnd
        position = matchEnd
        return
      }
      // An empty match right after another is none.
      if matchEnd == start, start != lastEnd { body(start, matchEnd) }
      position = start < end ? start + UTF8Scanner.length(bytes[start]) : end + 1
    }
  }

  @inline(never)
  private func slowMatches(
    _ bytes: [UInt8], _ range: Range<Int>, _ search: inout Search,
    _ body: (_ start: Int, _ end: Int) -> Void
  ) throws(PatternError) {
    guard search.position <= range.upperBound else { return }
    let rest = search.position..<range.upperBound
    var aheads: [UInt8]?
    if !machine.aheads.isEmpty {
      var bits = [UInt8](repeating: 0, count: rest.count + 1)
      for (index, program) in machine.aheads.enumerated() {
        let suffixes = try PatternSuffixes(
          machine, program, bytes, rest, aheads: nil, textStart: range.lowerBound)
        for position in rest.lowerBound...rest.upperBound where suffixes.matches(at: position) {
          bits[position - rest.lowerBound] |= 1 << UInt8(index)
        }
      }
      aheads = bits
    }
    let suffixes = try PatternSuffixes(
      machine, machine.program, bytes, rest, aheads: aheads, textStart: range.lowerBound)
    while search.position <= range.upperBound {
      let start = search.position
      let matchEnd = suffixes.matches(at: start) ? suffixes.matchEnd(bytes, from: start) : -1
      search.take(start, matchEnd, bytes, range.upperBound, body)
    }
  }
}
