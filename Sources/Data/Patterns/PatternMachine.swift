/// What runs a program: its classes of characters, and which instructions pass where.
///
/// A symbol is the class of the next character (or the end of the text), and a bit for each
/// look-ahead that says whether it matches here.
struct PatternMachine: Sendable {
  let program: PatternProgram
  let aheads: [PatternProgram]
  let alphabet: PatternAlphabet
  /// For each set of the program, the classes that are in it.
  let members: [[Bool]]

  var end: Int { alphabet.count }
  var symbolCount: Int { (alphabet.count + 1) << aheads.count }
  var looksBack: Bool { program.looksBack || aheads.contains(where: \.looksBack) }

  init(_ node: PatternNode) throws(PatternError) {
    var parts = PatternParts()
    program = try PatternProgram(node, &parts)
    aheads = parts.aheads
    var members: [[Bool]] = []
    alphabet = try PatternAlphabet(parts.sets, members: &members)
    self.members = members
  }

  /// Whether an assertion holds between two characters; nil for other instructions.
  func holds(_ instruction: PatternProgram.Instruction, previous: Int, symbol: Int) -> Bool? {
    let next = symbol >> aheads.count
    switch instruction {
    case .next(let set, let orEnd): return next == end ? orEnd : members[set][next]
    case .previous(let set, let orStart): return previous == end ? orStart : members[set][previous]
    case .ahead(let index, let isNegated): return (symbol >> index & 1 == 1) != isNegated
    default: return nil
    }
  }

  /// Whether an instruction takes the character that a symbol stands for.
  func takes(_ instruction: PatternProgram.Instruction, symbol: Int) -> Bool {
    guard case .take(let set) = instruction else { return false }
    let next = symbol >> aheads.count
    return next != end && members[set][next]
  }
}
