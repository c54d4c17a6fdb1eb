/// A pattern as instructions of an automaton, in the order in which its ways are tried.
struct PatternProgram: Sendable {
  enum Instruction: Sendable {
    /// Takes a character of the set.
    case take(Int)
    /// Goes on at the first, and where that fails at the second.
    case fork(Int, Int)
    case jump(Int)
    case next(Int, orEnd: Bool)
    case previous(Int, orStart: Bool)
    case ahead(Int, isNegated: Bool)
    case match
  }

  private(set) var instructions: [Instruction] = []
  private(set) var looksBack = false
  private let isInner: Bool

  /// Bounds what nested repetitions can make of a short pattern.
  private static let instructionLimit = 4000

  /// Compiles a tree.
  ///
  /// - Parameters:
  ///   - node: the tree.
  ///   - parts: collects the sets and the look-aheads that instructions name.
  ///   - isInner: the program is a look-ahead itself.
  init(_ node: PatternNode, _ parts: inout PatternParts, isInner: Bool = false)
    throws(PatternError)
  {
    self.isInner = isInner
    try compile(node, &parts)
    try emit(.match)
  }

  private mutating func emit(_ instruction: Instruction) throws(PatternError) {
    guard instructions.count < Self.instructionLimit else {
      throw PatternError(reason: "it is too large: repetitions of repetitions")
    }
    instructions.append(instruction)
  }

  private mutating func compile(_ node: PatternNode, _ parts: inout PatternParts)
    throws(PatternError)
  {
    switch node {
    case .set(let set): try emit(.take(parts.index(of: set)))
    case .sequence(let nodes): for node in nodes { try compile(node, &parts) }
    case .choice(let nodes):
      var exits: [Int] = []
      for node in nodes.dropLast() {
        let fork = instructions.count
        try emit(.match)
        try compile(node, &parts)
        exits.append(instructions.count)
        try emit(.match)
        instructions[fork] = .fork(fork + 1, instructions.count)
      }
      if let last = nodes.last { try compile(last, &parts) }
      for exit in exits { instructions[exit] = .jump(instructions.count) }
    case .repetition(let node, let minimum, let maximum, let greed):
      for _ in 0..<minimum { try compile(node, &parts) }
      guard let maximum else { return try compileLoop(node, greed, &parts) }
      var forks: [Int] = []
      for _ in minimum..<max(minimum, maximum) {
        forks.append(instructions.count)
        try emit(.match)
        try compile(node, &parts)
      }
      for fork in forks { instructions[fork] = Self.fork(fork + 1, instructions.count, greed) }
    case .next(let set, let orEnd): try emit(.next(parts.index(of: set), orEnd: orEnd))
    case .previous(let set, let orStart):
      looksBack = true
      try emit(.previous(parts.index(of: set), orStart: orStart))
    case .ahead(let node, let isNegated):
      guard !isInner, parts.aheads.count < PatternParts.aheadLimit else {
        throw PatternError(reason: "look-aheads inside each other, or more than two")
      }
      parts.aheads.append(try PatternProgram(node, &parts, isInner: true))
      try emit(.ahead(parts.aheads.count - 1, isNegated: isNegated))
    }
  }

  private mutating func compileLoop(
    _ node: PatternNode, _ greed: PatternNode.Greed, _ parts: inout PatternParts
  ) throws(PatternError) {
    let fork = instructions.count
    try emit(.match)
    try compile(node, &parts)
    try emit(.jump(fork))
    instructions[fork] = Self.fork(fork + 1, instructions.count, greed)
  }

  private static func fork(_ body: Int, _ exit: Int, _ greed: PatternNode.Greed) -> Instruction {
    greed == .lazy ? .fork(exit, body) : .fork(body, exit)
  }
}

/// The sets and look-aheads of a pattern.
struct PatternParts {
  /// Each doubles the symbols of the automaton.
  static let aheadLimit = 2

  private(set) var sets: [ScalarSet] = []
  var aheads: [PatternProgram] = []

  mutating func index(of set: ScalarSet) -> Int {
    if let index = sets.firstIndex(of: set) { return index }
    sets.append(set)
    return sets.count - 1
  }
}
