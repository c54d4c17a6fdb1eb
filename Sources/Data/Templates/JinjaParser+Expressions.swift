extension JinjaParser {
  private func node(_ form: JinjaExpression.Form, _ line: Int) -> JinjaExpression {
    JinjaExpression(form: form, line: line)
  }

  /// An expression, or several with commas between them, which make a tuple.
  mutating func tupleOrExpression(
    allowsConditional: Bool = true, ends: [String] = [], isInParentheses: Bool = false
  ) throws -> JinjaExpression {
    let line = token.line
    var elements: [JinjaExpression] = []
    var isTuple = false
    func isEnd(_ parser: JinjaParser) -> Bool {
      switch parser.token.kind {
      case .variableEnd, .blockEnd, .symbol(")"): true
      case .name(let name): ends.contains(name)
      default: false
      }
    }
    while true {
      if !elements.isEmpty { try expect(.symbol(",")) }
      if isEnd(self) { break }
      elements.append(try allowsConditional ? expression() : disjunction())
      guard isSymbol(",") else { break }
      isTuple = true
    }
    if !isTuple {
      if let first = elements.first { return first }
      guard isInParentheses else {
        throw failure("expected an expression, got \(token.description)")
      }
    }
    return node(.tuple(elements), line)
  }

  mutating func expression() throws -> JinjaExpression {
    try nested { parser in
      let line = parser.token.line
      var value = try parser.disjunction()
      while parser.skip(name: "if") {
        let test = try parser.disjunction()
        let otherwise = parser.skip(name: "else") ? try parser.expression() : nil
        value = parser.node(.conditional(test: test, then: value, otherwise: otherwise), line)
      }
      return value
    }
  }

  private mutating func disjunction() throws -> JinjaExpression {
    let line = token.line
    var left = try conjunction()
    var count = 0
    while skip(name: "or") {
      try checkChain(&count)
      left = node(.or(left, try conjunction()), line)
    }
    return left
  }

  private mutating func conjunction() throws -> JinjaExpression {
    let line = token.line
    var left = try negation()
    var count = 0
    while skip(name: "and") {
      try checkChain(&count)
      left = node(.and(left, try negation()), line)
    }
    return left
  }

  /// A chain of operators nests to the left, and is evaluated as deep as it is long.
  private func checkChain(_ count: inout Int) throws {
    count += 1
    guard count <= 200 else {
      throw JinjaError(
        .limit, "a chain of more than 200 operators in one expression", line: token.line)
    }
  }

  private mutating func negation() throws -> JinjaExpression {
    guard isName("not") else { return try comparison() }
    let line = take().line
    return try nested { parser in parser.node(.not(try parser.negation()), line) }
  }

  private mutating func comparison() throws -> JinjaExpression {
    let line = token.line
    let left = try sum()
    var operands: [(JinjaComparison, JinjaExpression)] = []
    while true {
      if case .symbol(let text) = token.kind, let comparison = JinjaComparison(rawValue: text) {
        take()
        operands.append((comparison, try sum()))
      } else if skip(name: "in") {
        operands.append((.isIn, try sum()))
      } else if isName("not"), nextToken.kind == .name("in") {
        take()
        take()
        operands.append((.isNotIn, try sum()))
      } else {
        return operands.isEmpty ? left : node(.comparison(left, operands), line)
      }
    }
  }

  private mutating func sum() throws -> JinjaExpression {
    let line = token.line
    var left = try concatenation()
    var count = 0
    while isSymbol("+") || isSymbol("-") {
      try checkChain(&count)
      let kind: JinjaOperator = take().kind == .symbol("+") ? .add : .subtract
      left = node(.arithmetic(kind, left, try concatenation()), line)
    }
    return left
  }

  private mutating func concatenation() throws -> JinjaExpression {
    let line = token.line
    var parts = [try product()]
    while skip(symbol: "~") { parts.append(try product()) }
    return parts.count == 1 ? parts[0] : node(.concatenation(parts), line)
  }

  private mutating func product() throws -> JinjaExpression {
    let line = token.line
    var left = try power()
    var count = 0
    while case .symbol(let text) = token.kind, let kind = JinjaOperator(rawValue: text),
      [.multiply, .divide, .floorDivide, .modulo].contains(kind)
    {
      try checkChain(&count)
      take()
      left = node(.arithmetic(kind, left, try power()), line)
    }
    return left
  }

  private mutating func power() throws -> JinjaExpression {
    let line = token.line
    var left = try unary(allowsFilters: true)
    var count = 0
    while skip(symbol: "**") {
      try checkChain(&count)
      left = node(.arithmetic(.power, left, try unary(allowsFilters: true)), line)
    }
    return left
  }

  private mutating func unary(allowsFilters: Bool) throws -> JinjaExpression {
    let line = token.line
    var value: JinjaExpression
    if isSymbol("-") || isSymbol("+") {
      let isNegative = take().kind == .symbol("-")
      value = try nested { parser in
        let operand = try parser.unary(allowsFilters: false)
        return parser.node(isNegative ? .negative(operand) : .positive(operand), line)
      }
    } else {
      value = try primary()
    }
    value = try postfix(value)
    return allowsFilters ? try filtersAndTests(value) : value
  }

  private mutating func primary() throws -> JinjaExpression {
    let line = token.line
    switch token.kind {
    case .name(let name):
      take()
      switch name {
      case "true", "True": return node(.bool(true), line)
      case "false", "False": return node(.bool(false), line)
      case "none", "None": return node(.none, line)
      default:
        noteUse(name)
        return node(.name(symbol(name)), line)
      }
    case .text(var text):
      take()
      while case .text(let more) = token.kind {
        text = JinjaText(text.bytes + more.bytes)
        take()
      }
      return node(.text(text), line)
    case .integer(let number):
      take()
      return node(.integer(number), line)
    case .float(let number):
      take()
      return node(.float(number), line)
    case .symbol("("):
      take()
      let value = try tupleOrExpression(isInParentheses: true)
      try expect(.symbol(")"))
      return value
    case .symbol("["):
      take()
      let elements = try list(until: "]") { parser in try parser.expression() }
      return node(.list(elements), line)
    case .symbol("{"):
      take()
      let entries = try list(until: "}") { parser in
        let key = try parser.expression()
        try parser.expect(.symbol(":"))
        return (key: key, value: try parser.expression())
      }
      return node(.dictionary(entries), line)
    default: throw failure("unexpected \(token.description)")
    }
  }

  /// Elements with commas between them, up to a symbol that is taken.
  private mutating func list<Element>(
    until end: String, _ element: (inout JinjaParser) throws -> Element
  ) throws -> [Element] {
    var elements: [Element] = []
    while !isSymbol(end) {
      if !elements.isEmpty { try expect(.symbol(",")) }
      if isSymbol(end) { break }
      elements.append(try element(&self))
    }
    take()
    return elements
  }

  private mutating func postfix(_ start: JinjaExpression) throws -> JinjaExpression {
    var value = start
    var count = 0
    while true {
      let line = token.line
      switch token.kind {
      case .symbol("."):
        take()
        switch take().kind {
        case .name(let name): value = node(.attribute(value, name), line)
        case .integer(let index): value = node(.item(value, node(.integer(index), line)), line)
        default: throw failure("expected a name or a number after '.'", line: line)
        }
      case .symbol("["):
        take()
        value = try subscripted(value, line)
      case .symbol("("): value = node(.call(value, try arguments()), line)
      default: return value
      }
      try checkChain(&count)
    }
  }

  private mutating func subscripted(_ value: JinjaExpression, _ line: Int) throws
    -> JinjaExpression
  {
    func isEnd(_ parser: JinjaParser) -> Bool { parser.isSymbol("]") || parser.isSymbol(",") }
    let first = isSymbol(":") ? nil : try expression()
    guard skip(symbol: ":") else {
      guard let first else { throw failure("expected an index") }
      guard isSymbol(",") else {
        try expect(.symbol("]"))
        return node(.item(value, first), line)
      }
      var parts = [first]
      while skip(symbol: ",") { parts.append(try expression()) }
      try expect(.symbol("]"))
      return node(.item(value, node(.tuple(parts), line)), line)
    }
    let end = isSymbol(":") || isEnd(self) ? nil : try expression()
    let step = skip(symbol: ":") && !isEnd(self) ? try expression() : nil
    try expect(.symbol("]"))
    return node(.slice(value, from: first, to: end, by: step), line)
  }

  private mutating func arguments() throws -> JinjaArguments {
    try nested { parser in
      let line = parser.token.line
      let broken = parser.failure("arguments in the wrong order", line: line)
      try parser.expect(.symbol("("))
      var arguments = JinjaArguments()
      var isFirst = true
      while !parser.isSymbol(")") {
        if !isFirst {
          try parser.expect(.symbol(","))
          if parser.isSymbol(")") { break }
        }
        isFirst = false
        if parser.skip(symbol: "*") {
          guard arguments.spread == nil, arguments.namedSpread == nil else { throw broken }
          arguments.spread = try parser.expression()
        } else if parser.skip(symbol: "**") {
          guard arguments.namedSpread == nil else { throw broken }
          arguments.namedSpread = try parser.expression()
        } else if case .name(let name) = parser.token.kind, parser.nextToken.kind == .symbol("=") {
          guard arguments.namedSpread == nil else { throw broken }
          parser.take()
          parser.take()
          arguments.named.append((name, try parser.expression()))
        } else {
          guard arguments.spread == nil, arguments.namedSpread == nil, arguments.named.isEmpty
          else { throw broken }
          arguments.positional.append(try parser.expression())
        }
      }
      parser.take()
      return arguments
    }
  }

  /// A name, perhaps with dots, as filters and tests have.
  private mutating func dottedName() throws -> String {
    var name = try expectName()
    while skip(symbol: ".") { name += "." + (try expectName()) }
    return name
  }

  private mutating func filtersAndTests(_ start: JinjaExpression) throws -> JinjaExpression {
    var value = start
    var count = 0
    while true {
      try checkChain(&count)
      let line = token.line
      if isSymbol("|") {
        value = try filters(of: value, startsInline: false) ?? value
      } else if isName("is") {
        value = try test(of: value)
      } else if isSymbol("(") {
        value = node(.call(value, try arguments()), line)
      } else {
        return value
      }
    }
  }

  /// `| name(...)`, once or several times; of nil where a block's text is filtered.
  mutating func filters(of start: JinjaExpression?, startsInline: Bool) throws -> JinjaExpression? {
    var value = start
    var isInline = startsInline
    var count = 0
    while isInline || isSymbol("|") {
      try checkChain(&count)
      if !isInline { take() }
      isInline = false
      let line = token.line
      let name = try dottedName()
      guard JinjaFilter.names.contains(name) else {
        throw failure("there is no filter '\(name)'", line: line)
      }
      value = node(.filter(value, name, isSymbol("(") ? try arguments() : JinjaArguments()), line)
    }
    return value
  }

  private mutating func test(of value: JinjaExpression) throws -> JinjaExpression {
    let line = take().line
    let isNegated = skip(name: "not")
    let name = try dottedName()
    guard JinjaTest.names.contains(name) else {
      throw failure("there is no test '\(name)'", line: line)
    }
    var arguments = JinjaArguments()
    switch token.kind {
    case .symbol("("): arguments = try self.arguments()
    case .name("else"), .name("or"), .name("and"): break
    case .name("is"): throw failure("tests cannot follow each other: 'is ... is'")
    case .name, .text, .integer, .float, .symbol("["), .symbol("{"):
      arguments.positional = [try nested { parser in try parser.postfix(parser.primary()) }]
    default: break
    }
    let test = node(.test(value, name, arguments), line)
    return isNegated ? node(.not(test), line) : test
  }
}
