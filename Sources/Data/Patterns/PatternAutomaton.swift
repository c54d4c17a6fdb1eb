/// A program as a table: from a state and the next symbol to a state, with the meaning of a
/// backtracking matcher (of several ways the first one counts), but one step for each character.
///
/// A state is the ordered list of places where the ways that are still open stand.
struct PatternAutomaton: Sendable {
  /// State * ``stride`` + symbol to `next state << 1`, the lowest bit telling that the pattern has
  /// matched before this symbol. State 0 has no way left.
  let table: [Int32]
  let stride: Int
  /// By the class of the character before (``PatternAlphabet/count`` at the start of the text).
  let startStates: [Int32]

  private static let stateLimit = 4096
  private static let entryLimit = 1 << 20
  /// Instructions that are followed or cleared; more take longer than a table is worth. Patterns of
  /// real tokenizers take some 6,000.
  private static let workLimit = 1 << 20

  private struct Key: Hashable {
    var threads: [Int32]
    /// Zero where the program never looks back.
    var previous: Int
  }

  /// Builds the whole table; nil when it would be too large.
  init?(_ machine: PatternMachine) {
    stride = machine.symbolCount
    var states: [Key: Int32] = [Key(threads: [], previous: 0): 0]
    var keys = [Key(threads: [], previous: 0)]
    func state(_ key: Key) -> Int32 {
      let key = key.threads.isEmpty ? keys[0] : key
      if let known = states[key] { return known }
      states[key] = Int32(keys.count)
      keys.append(key)
      return Int32(keys.count - 1)
    }
    let looksBack = machine.looksBack
    startStates = (0...machine.end).map { state(Key(threads: [0], previous: looksBack ? $0 : 0)) }

    var table: [Int32] = []
    var index = 0
    var work = 0
    while index < keys.count {
      guard keys.count <= Self.stateLimit, keys.count * stride <= Self.entryLimit else {
        return nil
      }
      let key = keys[index]
      for symbol in 0..<stride {
        guard work <= Self.workLimit else { return nil }
        let (threads, hasMatched) = Self.step(
          machine, key.threads, key.previous, symbol, work: &work)
        let previous = looksBack ? symbol >> machine.aheads.count : 0
        table.append(state(Key(threads: threads, previous: previous)) << 1 | (hasMatched ? 1 : 0))
      }
      index += 1
    }
    self.table = table
  }

  /// Follows all ways up to the next character and over it.
  private static func step(
    _ machine: PatternMachine, _ threads: [Int32], _ previous: Int, _ symbol: Int,
    work: inout Int
  ) -> (threads: [Int32], hasMatched: Bool) {
    let instructions = machine.program.instructions
    var isVisited = [Bool](repeating: false, count: instructions.count)
    var isNext = isVisited
    work += instructions.count / 16 + threads.count
    var result: [Int32] = []
    var stack: [Int] = []
    for thread in threads {
      stack.append(Int(thread))
      while let place = stack.popLast() {
        if isVisited[place] { continue }
        isVisited[place] = true
        work += 1
        let instruction = instructions[place]
        switch instruction {
        case .take:
          if machine.takes(instruction, symbol: symbol), !isNext[place + 1] {
            isNext[place + 1] = true
            result.append(Int32(place + 1))
          }
        case .fork(let first, let second): stack += [second, first]
        case .jump(let target): stack.append(target)
        case .next, .previous, .ahead:
          if machine.holds(instruction, previous: previous, symbol: symbol) == true {
            stack.append(place + 1)
          }
        // Later ways come after this match, so they no longer count.
        case .match: return (result, true)
        }
      }
    }
    return (result, false)
  }
}
