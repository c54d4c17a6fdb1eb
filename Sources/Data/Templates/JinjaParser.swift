internal import Support

/// Reads the statements of a template.
struct JinjaParser {
  private let tokens: [JinjaToken]
  private var position = 0
  private var depth = 0
  /// How many loops are open inside the innermost macro.
  private var loopCount = 0
  private var isInGeneration = false
  /// Names that the bodies of the open macros mention, the innermost last.
  var usedNames: [Set<String>] = []
  private var symbols: [ExactString: Int] = [:]
  private(set) var names: [String] = []
  private(set) var hasGeneration = false

  private static let depthLimit = 100

  /// Reads a template.
  ///
  /// - Parameter source: its text.
  /// - Returns: the statements and the names that they use, by number.
  /// - Throws: ``JinjaError`` with the line.
  static func parse(_ source: String) throws -> JinjaProgram {
    var parser = JinjaParser(tokens: try JinjaLexer.tokens(of: source))
    let (body, _) = try parser.body(until: [], of: nil)
    return JinjaProgram(body: body, names: parser.names, hasGeneration: parser.hasGeneration)
  }

  private init(tokens: [JinjaToken]) { self.tokens = tokens }

  // MARK: tokens

  var token: JinjaToken { tokens[position] }
  var nextToken: JinjaToken { tokens[min(position + 1, tokens.count - 1)] }

  @discardableResult mutating func take() -> JinjaToken {
    defer { position = min(position + 1, tokens.count - 1) }
    return token
  }

  func failure(_ message: String, line: Int? = nil) -> JinjaError {
    JinjaError(.syntax, message, line: line ?? token.line)
  }

  func isSymbol(_ text: String) -> Bool { token.kind == .symbol(text) }
  func isName(_ text: String) -> Bool { token.kind == .name(text) }

  mutating func skip(symbol text: String) -> Bool {
    guard isSymbol(text) else { return false }
    take()
    return true
  }

  mutating func skip(name text: String) -> Bool {
    guard isName(text) else { return false }
    take()
    return true
  }

  mutating func expect(_ kind: JinjaToken.Kind) throws {
    guard token.kind == kind else {
      throw failure(
        "expected \(JinjaToken(kind: kind, line: 0).description), got \(token.description)")
    }
    take()
  }

  mutating func expectName() throws -> String {
    guard case .name(let name) = token.kind else {
      throw failure("expected a name, got \(token.description)")
    }
    take()
    return name
  }

  mutating func symbol(_ name: String) -> Int {
    let key = ExactString(name)
    if let known = symbols[key] { return known }
    symbols[key] = names.count
    names.append(name)
    return names.count - 1
  }

  /// Runs `body` one level deeper; each level takes stack.
  mutating func nested<Result>(_ body: (inout JinjaParser) throws -> Result) throws -> Result {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else {
      throw JinjaError(
        .limit, "the template nests deeper than \(Self.depthLimit) levels", line: token.line)
    }
    return try body(&self)
  }

  // MARK: statements

  /// Statements up to one of the tags `ends`, which is taken; its name comes back.
  private mutating func body(until ends: [String], of opening: (name: String, line: Int)?) throws
    -> ([JinjaStatement], end: String)
  {
    try nested { parser in
      var statements: [JinjaStatement] = []
      while true {
        let line = parser.token.line
        switch parser.token.kind {
        case .data(let text):
          parser.take()
          statements.append(JinjaStatement(form: .data(text), line: line))
        case .variableBegin:
          parser.take()
          let value = try parser.tupleOrExpression()
          try parser.expect(.variableEnd)
          statements.append(JinjaStatement(form: .output(value), line: line))
        case .blockBegin:
          parser.take()
          guard case .name(let name) = parser.token.kind else {
            throw parser.failure("expected the name of a tag, got \(parser.token.description)")
          }
          if ends.contains(name) {
            parser.take()
            return (statements, name)
          }
          statements += try parser.statement(name, line, looking: ends, for: opening)
          try parser.expect(.blockEnd)
        default:
          guard let opening else { return (statements, "") }
          throw parser.failure(
            "the template ends, but '\(opening.name)' of line \(opening.line) has no "
              + "'\(ends.joined(separator: "' or '"))'")
        }
      }
    }
  }

  /// The body of a tag whose head was read.
  private mutating func block(_ name: String, _ line: Int, until ends: [String]) throws
    -> ([JinjaStatement], end: String)
  {
    _ = skip(symbol: ":")
    try expect(.blockEnd)
    return try body(until: ends, of: (name, line))
  }

  private mutating func statement(
    _ name: String, _ line: Int, looking ends: [String], for opening: (name: String, line: Int)?
  ) throws -> [JinjaStatement] {
    take()
    func one(_ form: JinjaStatement.Form) -> [JinjaStatement] {
      [JinjaStatement(form: form, line: line)]
    }
    switch name {
    case "set": return one(try set(line))
    case "if": return one(try conditional(line))
    case "for": return one(try loop(line))
    case "macro":
      let name = try expectName()
      return one(.macro(try macro(name, line, end: "endmacro", hasSignature: true)))
    case "call":
      // The signature comes before the call; what the call mentions belongs to the outside.
      let parameters = isSymbol("(") ? try signature() : ([], [])
      let value = try expression()
      guard case .call = value.form else {
        throw failure("'call' needs a call, such as {% call name() %}", line: line)
      }
      let definition = try macro(
        "caller", line, end: "endcall", hasSignature: false, parameters: parameters)
      return one(.call(value, definition))
    case "filter":
      let filter = try filters(of: nil, startsInline: true)
      let (body, _) = try block(name, line, until: ["endfilter"])
      guard let filter else { throw failure("'filter' needs the name of a filter", line: line) }
      return one(.filter(filter, body: body))
    case "with": return one(try with(line))
    case "generation":
      guard !isInGeneration else { throw failure("'generation' inside 'generation'", line: line) }
      hasGeneration = true
      isInGeneration = true
      defer { isInGeneration = false }
      // jinja2 makes a macro of the body, out of which no loop can be left.
      let loops = loopCount
      loopCount = 0
      defer { loopCount = loops }
      return one(.generation(try block(name, line, until: ["endgeneration"]).0))
    case "print":
      var outputs: [JinjaStatement] = []
      while token.kind != .blockEnd {
        if !outputs.isEmpty { try expect(.symbol(",")) }
        outputs += one(.output(try expression()))
      }
      return outputs
    case "break", "continue":
      guard loopCount > 0 else { throw failure("'\(name)' outside of a loop", line: line) }
      return one(name == "break" ? .breakLoop : .continueLoop)
    case "include", "import", "from", "extends", "block":
      throw failure(
        "the tag '\(name)' is not supported: a chat template stands for itself", line: line)
    case "autoescape", "do", "trans", "debug":
      throw failure("the tag '\(name)' is not supported", line: line)
    default:
      let expected = ends.isEmpty ? "" : "; expected '\(ends.joined(separator: "' or '"))'"
      let inside = opening.map { " inside '\($0.name)' of line \($0.line)" } ?? ""
      throw failure("unknown tag '\(name)'\(inside)\(expected)", line: line)
    }
  }

  private mutating func set(_ line: Int) throws -> JinjaStatement.Form {
    let target = try target(ends: [], allowsAttribute: true)
    if skip(symbol: "=") { return .set(target, try tupleOrExpression()) }
    let filter = try filters(of: nil, startsInline: false)
    return .setBlock(target, filter: filter, body: try block("set", line, until: ["endset"]).0)
  }

  private mutating func conditional(_ line: Int) throws -> JinjaStatement.Form {
    var branches: [(test: JinjaExpression, body: [JinjaStatement])] = []
    while true {
      let test = try tupleOrExpression(allowsConditional: false)
      let (body, end) = try block("if", line, until: ["elif", "else", "endif"])
      branches.append((test, body))
      switch end {
      case "elif": continue
      case "else":
        return .conditional(branches, otherwise: try block("if", line, until: ["endif"]).0)
      default: return .conditional(branches, otherwise: [])
      }
    }
  }

  private mutating func loop(_ line: Int) throws -> JinjaStatement.Form {
    let target = try target(ends: ["in"], allowsAttribute: false)
    if mentionsLoop(target) {
      throw failure("'loop' is no name for an element of a loop", line: line)
    }
    try expect(.name("in"))
    let elements = try tupleOrExpression(allowsConditional: false, ends: ["recursive"])
    let condition = skip(name: "if") ? try expression() : nil
    let isRecursive = skip(name: "recursive")
    loopCount += 1
    let body: [JinjaStatement]
    let end: String
    do {
      defer { loopCount -= 1 }
      (body, end) = try block("for", line, until: ["endfor", "else"])
    }
    return .loop(
      JinjaForLoop(
        target: target, elements: elements, condition: condition, isRecursive: isRecursive,
        body: body,
        otherwise: end == "else" ? try block("for", line, until: ["endfor"]).0 : []))
  }

  private func mentionsLoop(_ target: JinjaTarget) -> Bool {
    switch target {
    case .name(let symbol), .attribute(let symbol, _): names[symbol] == "loop"
    case .tuple(let targets): targets.contains(where: mentionsLoop)
    }
  }

  private mutating func with(_ line: Int) throws -> JinjaStatement.Form {
    var assignments: [(target: JinjaTarget, value: JinjaExpression)] = []
    while token.kind != .blockEnd {
      if !assignments.isEmpty { try expect(.symbol(",")) }
      let target = try target(ends: [], allowsAttribute: false)
      try expect(.symbol("="))
      assignments.append((target, try expression()))
    }
    return .with(assignments, body: try block("with", line, until: ["endwith"]).0)
  }

  private mutating func signature() throws -> (
    parameters: [(name: String, symbol: Int)], defaults: [JinjaExpression]
  ) {
    var parameters: [(name: String, symbol: Int)] = []
    var defaults: [JinjaExpression] = []
    try expect(.symbol("("))
    while !isSymbol(")") {
      if !parameters.isEmpty { try expect(.symbol(",")) }
      let name = try expectName()
      if skip(symbol: "=") {
        defaults.append(try expression())
      } else if !defaults.isEmpty {
        throw failure("the parameter '\(name)' without a default follows one with a default")
      }
      parameters.append((name, symbol(name)))
    }
    take()
    return (parameters, defaults)
  }

  private mutating func macro(
    _ name: String, _ line: Int, end: String, hasSignature: Bool,
    parameters given: ([(name: String, symbol: Int)], [JinjaExpression]) = ([], [])
  ) throws -> JinjaMacroDefinition {
    usedNames.append([])
    let loops = loopCount
    loopCount = 0
    defer { loopCount = loops }
    let (parameters, defaults) = hasSignature ? try signature() : given
    let (body, _) = try block(end == "endmacro" ? "macro" : "call", line, until: [end])
    let used = usedNames.removeLast()
    if !usedNames.isEmpty { usedNames[usedNames.count - 1].formUnion(used) }
    return JinjaMacroDefinition(
      name: name, symbol: symbol(name), parameters: parameters, defaults: defaults, body: body,
      used: used)
  }

  /// What stands to the left of an assignment.
  private mutating func target(ends: [String], allowsAttribute: Bool) throws -> JinjaTarget {
    var targets: [JinjaTarget] = []
    var isTuple = false
    while true {
      if !targets.isEmpty {
        guard skip(symbol: ",") else { break }
        isTuple = true
        if isSymbol("=") || token.kind == .blockEnd || ends.contains(where: isName) { break }
      }
      if isSymbol("(") {
        targets.append(
          try nested { parser in
            parser.take()
            let inner = try parser.target(ends: [], allowsAttribute: allowsAttribute)
            try parser.expect(.symbol(")"))
            return inner
          })
        continue
      }
      let line = token.line
      let name = try expectName()
      guard !["true", "false", "none", "True", "False", "None"].contains(name) else {
        throw failure("cannot assign to '\(name)'", line: line)
      }
      if allowsAttribute, skip(symbol: ".") {
        targets.append(.attribute(symbol(name), try expectName()))
        noteUse(name)
      } else {
        targets.append(.name(symbol(name)))
      }
    }
    return targets.count == 1 && !isTuple ? targets[0] : .tuple(targets)
  }

  mutating func noteUse(_ name: String) {
    if !usedNames.isEmpty { usedNames[usedNames.count - 1].insert(name) }
  }
}

/// A template that was read.
final class JinjaProgram: Sendable {
  let body: [JinjaStatement]
  /// The names that expressions hold by number.
  let names: [String]
  /// Whether the template marks what the model writes.
  let hasGeneration: Bool

  init(body: [JinjaStatement], names: [String], hasGeneration: Bool) {
    self.body = body
    self.names = names
    self.hasGeneration = hasGeneration
  }
}
