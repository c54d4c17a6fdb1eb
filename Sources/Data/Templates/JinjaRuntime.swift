/// The names of one block; those of the blocks around it are its parents'.
final class JinjaScope {
  private var values: [(symbol: Int, value: JinjaValue)] = []
  private let parent: JinjaScope?

  init(parent: JinjaScope?) { self.parent = parent }

  /// How many names it gives values.
  var count: Int { values.count }

  func set(_ symbol: Int, _ value: JinjaValue) {
    if let index = values.firstIndex(where: { $0.symbol == symbol }) {
      values[index].value = value
    } else {
      values.append((symbol, value))
    }
  }

  /// The value of a name, and how many names and blocks were looked at.
  func value(_ symbol: Int) -> (value: JinjaValue?, lookCount: Int) {
    var scope: JinjaScope? = self
    var lookCount = 0
    while let current = scope {
      if let index = current.values.firstIndex(where: { $0.symbol == symbol }) {
        return (current.values[index].value, lookCount + index)
      }
      lookCount += 1 + current.values.count
      scope = current.parent
    }
    return (nil, lookCount)
  }

  /// Ends circles of macros and the scopes that hold them.
  func removeAll() { values = [] }
}

/// A macro where it was defined.
final class JinjaMacro {
  let definition: JinjaMacroDefinition
  let scope: JinjaScope
  var name: String { definition.name }

  init(_ definition: JinjaMacroDefinition, _ scope: JinjaScope) {
    self.definition = definition
    self.scope = scope
  }
}

/// The state of a running loop, which the template sees as `loop`.
final class JinjaLoop {
  let elements: [JinjaValue]
  var index = 0
  /// How many loops of the same recursion are around.
  let recursionDepth: Int
  let statement: JinjaForLoop
  let scope: JinjaScope
  /// What `changed` was called with last.
  var lastChecked: JinjaList?

  init(
    _ elements: [JinjaValue], recursionDepth: Int, statement: JinjaForLoop, scope: JinjaScope
  ) {
    self.elements = elements
    self.recursionDepth = recursionDepth
    self.statement = statement
    self.scope = scope
  }

  /// An attribute as jinja2 has it; nil for a name it does not have.
  func attribute(_ name: String) -> JinjaValue? {
    let count = elements.count
    switch name {
    case "index": return .integer(index + 1)
    case "index0": return .integer(index)
    case "revindex": return .integer(count - index)
    case "revindex0": return .integer(count - index - 1)
    case "first": return .bool(index == 0)
    case "last": return .bool(index == count - 1)
    case "length": return .integer(count)
    case "depth": return .integer(recursionDepth + 1)
    case "depth0": return .integer(recursionDepth)
    case "previtem":
      return index > 0
        ? elements[index - 1] : .undefined(JinjaUndefined(message: "there is no previous item"))
    case "nextitem":
      return index + 1 < count
        ? elements[index + 1] : .undefined(JinjaUndefined(message: "there is no next item"))
    case "cycle", "changed": return .method(JinjaMethod(.loop(self), name))
    default: return nil
    }
  }
}

/// The arguments of a call, evaluated.
struct JinjaCall {
  var positional: [JinjaValue] = []
  var named: [(name: String, value: JinjaValue)] = []

  /// The arguments in the order of a function's parameters; nil where one is not given.
  ///
  /// - Parameters:
  ///   - function: its name, for errors.
  ///   - parameters: all it takes.
  ///   - required: how many of them must be given.
  func bind(_ function: String, _ parameters: [String], required: Int = 0) throws -> [JinjaValue?] {
    guard positional.count <= parameters.count else {
      throw JinjaError(
        "\(function)() takes at most \(parameters.count) arguments, but \(positional.count) are given"
      )
    }
    var values: [JinjaValue?] = positional
    values += [JinjaValue?](repeating: nil, count: parameters.count - positional.count)
    for (name, value) in named {
      guard let index = parameters.firstIndex(of: name) else {
        throw JinjaError("\(function)() has no parameter '\(name)'")
      }
      guard values[index] == nil else {
        throw JinjaError("\(function)() got two values for '\(name)'")
      }
      values[index] = value
    }
    for index in 0..<required where values[index] == nil {
      throw JinjaError("\(function)() needs the argument '\(parameters[index])'")
    }
    return values
  }
}

/// Renders one template once.
final class JinjaRenderer {
  enum Flow { case next, breakLoop, continueLoop }

  let program: JinjaProgram
  /// What `strftime_now` takes for now.
  let date: TemplateDate
  private let root = JinjaScope(parent: nil)
  private var steps = 0
  private var depth = 0
  /// The output, and above it the texts of macros and blocks that are being written.
  var sinks: [[UInt8]] = [[]]
  private var writtenBytes = 0
  /// Bytes of the output that `generation` blocks wrote.
  private(set) var generated: [Range<Int>] = []
  /// Whether such a block wrote into something other than the output, so that its place is unknown.
  private(set) var hasHiddenGeneration = false
  private let symbols: [String: Int]
  /// Objects that may hold each other.
  private var circles: [JinjaScope] = []
  private var namespaces: [JinjaNamespace] = []

  init(_ program: JinjaProgram, date: TemplateDate) {
    self.program = program
    self.date = date
    var symbols: [String: Int] = [:]
    for (number, name) in program.names.enumerated() { symbols[name] = number }
    self.symbols = symbols
  }

  /// Renders the template.
  ///
  /// - Parameter variables: what the template sees.
  /// - Returns: the output.
  /// - Throws: ``JinjaError``.
  func render(_ variables: [(name: String, value: JinjaValue)]) throws -> [UInt8] {
    for (name, value) in variables { bind(name, value, in: root) }
    defer {
      for scope in circles + [root] { scope.removeAll() }
      for namespace in namespaces { namespace.removeAll() }
    }
    _ = try execute(program.body, root)
    return sinks[0]
  }

  /// Gives a name a value, where the template mentions it at all.
  func bind(_ name: String, _ value: JinjaValue, in scope: JinjaScope) {
    if let symbol = symbols[name] { scope.set(symbol, value) }
  }

  /// Counts work; a template that never ends stops here.
  func charge(_ count: Int = 1) throws {
    steps += max(0, count)
    guard steps <= JinjaLimits.steps else {
      throw JinjaError(.limit, "the template does more than \(JinjaLimits.steps) steps: it loops")
    }
  }

  /// Runs `body` one level deeper.
  func nested<Result>(_ line: Int, _ body: () throws -> Result) throws -> Result {
    depth += 1
    defer { depth -= 1 }
    guard depth <= JinjaLimits.depth else {
      throw JinjaError(
        .limit, "the template recurses deeper than \(JinjaLimits.depth) levels", line: line)
    }
    do {
      return try body()
    } catch var error as JinjaError where error.line == nil {
      error.line = line
      throw error
    }
  }

  func write(_ text: JinjaText) throws {
    writtenBytes += text.bytes.count
    guard writtenBytes <= JinjaLimits.outputBytes else {
      throw JinjaError(.limit, "the template writes more than \(JinjaLimits.outputBytes) bytes")
    }
    try charge(text.bytes.count / 16)
    sinks[sinks.count - 1] += text.bytes
  }

  /// What `body` writes, as a text.
  func capture(_ body: () throws -> Void) throws -> JinjaText {
    sinks.append([])
    do {
      try body()
    } catch {
      sinks.removeLast()
      throw error
    }
    return try checked(JinjaText(sinks.removeLast()))
  }

  /// The value of a name, for which long ways are paid.
  func look(_ symbol: Int, _ scope: JinjaScope) throws -> JinjaValue? {
    let (value, lookCount) = scope.value(symbol)
    try charge(lookCount / 16)
    return value
  }

  /// Python's `str` of a value. Making it is paid for; who reads a text that was there pays then.
  func text(_ value: JinjaValue) throws -> JinjaText {
    if case .text(let text) = value { return text }
    try charge(value.weight)
    return try checked(value.pythonText())
  }

  /// The same for who reads all of it.
  func read(_ value: JinjaValue) throws -> JinjaText {
    let text = try text(value)
    try charge(text.bytes.count / 16)
    return text
  }

  /// Pays for the texts that a call is given.
  func chargeTexts(_ call: JinjaCall) throws {
    for case .text(let text) in call.positional { try charge(text.bytes.count / 16) }
    for case (_, .text(let text)) in call.named { try charge(text.bytes.count / 16) }
  }

  /// Whether two values are equal as Python's `==` tells, paid for.
  func areEqual(_ left: JinjaValue, _ right: JinjaValue) throws -> Bool {
    // The keys of one dictionary are looked for in the other, whatever that weighs.
    switch (left, right) {
    case (.dictionary, _), (.list, _), (.tuple, _), (.view, _):
      try charge(max(left.weight, right.weight) / 4)
    default: try charge(min(left.weight, right.weight) / 4)
    }
    return left.equals(right)
  }

  /// Python's `<`, paid for.
  func isLess(_ left: JinjaValue, _ right: JinjaValue) throws -> Bool {
    try charge(min(left.weight, right.weight) / 4)
    return try JinjaOperator.isLess(left, right)
  }

  /// A text that is not too long, and paid for.
  func checked(_ text: JinjaText) throws -> JinjaText {
    try checkSize(text.bytes.count)
    return text
  }

  func checkSize(_ byteCount: Int) throws {
    try JinjaLimits.checkText(byteCount)
    try charge(byteCount / 16)
  }

  /// A list that is not too long, and paid for.
  func list(_ elements: [JinjaValue]) throws -> JinjaList {
    try charge(elements.count)
    return try JinjaList(elements)
  }

  func makeNamespace() -> JinjaNamespace {
    let namespace = JinjaNamespace()
    namespaces.append(namespace)
    return namespace
  }
}

extension JinjaRenderer {
  func execute(_ statements: [JinjaStatement], _ scope: JinjaScope) throws -> Flow {
    for statement in statements {
      let flow = try nested(statement.line) {
        try charge()
        return try execute(statement, scope)
      }
      if flow != .next { return flow }
    }
    return .next
  }

  private func execute(_ statement: JinjaStatement, _ scope: JinjaScope) throws -> Flow {
    switch statement.form {
    case .data(let text): try write(text)
    case .output(let expression): try write(text(evaluate(expression, scope)))
    case .set(let target, let expression):
      try assign(target, evaluate(expression, scope), scope)
    case .setBlock(let target, let filter, let body):
      let inner = JinjaScope(parent: scope)
      let text = JinjaValue.text(try capture { _ = try execute(body, inner) })
      try assign(target, filter.map { try apply($0, to: text, scope) } ?? text, scope)
    case .conditional(let branches, let otherwise):
      for (number, (test, body)) in branches.enumerated() {
        if number > 0 { try charge() }
        if try evaluate(test, scope).isTrue { return try execute(body, scope) }
      }
      return try execute(otherwise, scope)
    case .loop(let loop):
      let elements = try iterate(evaluate(loop.elements, scope))
      try run(loop, over: elements, recursionDepth: 0, scope)
    case .macro(let definition):
      circles.append(scope)
      scope.set(definition.symbol, .macro(JinjaMacro(definition, scope)))
    case .call(let expression, let definition):
      guard case .call(let callee, let arguments) = expression.form else { return .next }
      var call = try self.arguments(arguments, scope)
      call.named.append(("caller", .macro(JinjaMacro(definition, scope))))
      try write(text(self.call(evaluate(callee, scope), call)))
    case .filter(let filter, let body):
      let inner = JinjaScope(parent: scope)
      let text = try capture { _ = try execute(body, inner) }
      try write(self.text(apply(filter, to: .text(text), scope)))
    case .with(let assignments, let body):
      let inner = JinjaScope(parent: scope)
      for (target, value) in assignments { try assign(target, evaluate(value, scope), inner) }
      return try execute(body, inner)
    case .generation(let body):
      if sinks.count > 1 { hasHiddenGeneration = true }
      let start = sinks[0].count
      _ = try execute(body, JinjaScope(parent: scope))
      if sinks.count == 1 { generated.append(start..<sinks[0].count) }
    case .breakLoop: return .breakLoop
    case .continueLoop: return .continueLoop
    }
    return .next
  }

  func run(
    _ statement: JinjaForLoop, over all: [JinjaValue], recursionDepth: Int, _ scope: JinjaScope
  ) throws {
    var elements = all
    if let condition = statement.condition {
      elements = try all.filter { element in
        try charge()
        let inner = JinjaScope(parent: scope)
        try assign(statement.target, element, inner)
        return try evaluate(condition, inner).isTrue
      }
    }
    let loop = JinjaLoop(
      elements, recursionDepth: recursionDepth, statement: statement, scope: scope)
    for (index, element) in elements.enumerated() {
      try charge()
      loop.index = index
      let inner = JinjaScope(parent: scope)
      bind("loop", .loop(loop), in: inner)
      try assign(statement.target, element, inner)
      if try execute(statement.body, inner) == .breakLoop { break }
    }
    if elements.isEmpty { _ = try execute(statement.otherwise, JinjaScope(parent: scope)) }
  }

  private func assign(_ target: JinjaTarget, _ value: JinjaValue, _ scope: JinjaScope) throws {
    switch target {
    case .name(let symbol):
      try charge(scope.count / 16)
      scope.set(symbol, value)
    case .attribute(let symbol, let name):
      try charge(name.utf8.count / 16)
      guard case .namespace(let namespace) = try look(symbol, scope) else {
        throw JinjaError(
          "'\(program.names[symbol])' is no namespace, so '\(name)' of it cannot be set")
      }
      namespace.set(name, value)
    case .tuple(let targets):
      let elements = try iterate(value)
      guard elements.count == targets.count else {
        throw JinjaError(
          "\(targets.count) names cannot take \(elements.count) values of a \(value.typeName)")
      }
      for (target, element) in zip(targets, elements) { try assign(target, element, scope) }
    }
  }

  /// The elements of a value, as Python iterates over it.
  func iterate(_ value: JinjaValue) throws -> [JinjaValue] {
    switch value {
    case .undefined: return []
    case .list(let list), .tuple(let list), .view(_, let list), .group(let list):
      return list.elements
    case .dictionary(let dictionary):
      try charge(dictionary.entries.count)
      return dictionary.entries.map(\.key)
    case .text(let text):
      try charge(text.count)
      try JinjaLimits.checkElements(text.count)
      return text.characters.map { .text($0) }
    case .range(let range):
      try charge(range.count)
      return range.values
    case .iterator(let iterator): return iterator.takeAll()
    case .loop(let loop):
      try charge(loop.elements.count)
      return Array(loop.elements[min(loop.index + 1, loop.elements.count)...])
    default: throw JinjaError("'\(value.typeName)' object is not iterable")
    }
  }

  /// Runs a macro.
  func call(_ macro: JinjaMacro, _ call: JinjaCall) throws -> JinjaValue {
    let definition = macro.definition
    // Names are looked for one after the other.
    try charge(
      definition.parameters.count * (definition.parameters.count + call.named.count) / 16)
    let scope = JinjaScope(parent: macro.scope)
    var named = call.named
    func takeNamed(_ name: String) -> JinjaValue? {
      named.firstIndex { $0.name == name }.map { named.remove(at: $0).value }
    }
    let firstDefault = definition.parameters.count - definition.defaults.count
    for (index, parameter) in definition.parameters.enumerated() {
      let value: JinjaValue
      if index < call.positional.count {
        value = call.positional[index]
      } else if let given = takeNamed(parameter.name) {
        value = given
      } else if index >= firstDefault {
        value = try evaluate(definition.defaults[index - firstDefault], scope)
      } else {
        value = .undefined(
          JinjaUndefined(message: "parameter '\(parameter.name)' was not provided"))
      }
      scope.set(parameter.symbol, value)
    }
    if definition.usesCaller {
      bind(
        "caller", takeNamed("caller") ?? .undefined(JinjaUndefined(message: "No caller defined")),
        in: scope)
    }
    if definition.usesKeywords {
      var rest = JinjaDictionary()
      for (name, value) in named { try rest.set(.text(name), value) }
      bind("kwargs", .dictionary(rest), in: scope)
    } else if let (name, _) = named.first {
      throw JinjaError("macro '\(macro.name)' takes no keyword argument '\(name)'")
    }
    let extra = Array(call.positional.dropFirst(definition.parameters.count))
    if definition.usesVariadic {
      bind("varargs", .tuple(try list(extra)), in: scope)
    } else if !extra.isEmpty {
      throw JinjaError(
        "macro '\(macro.name)' takes not more than \(definition.parameters.count) argument(s)")
    }
    return .text(try capture { _ = try execute(definition.body, scope) })
  }
}
