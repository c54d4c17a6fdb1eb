extension JinjaRenderer {
  func evaluate(_ expression: JinjaExpression, _ scope: JinjaScope) throws -> JinjaValue {
    switch expression.form {
    // Leaves cost no stack worth counting.
    case .none: return .none
    case .bool(let flag): return .bool(flag)
    case .integer(let number): return .integer(number)
    case .float(let number): return .float(number)
    case .text(let text): return .text(text)
    case .name(let symbol): return try name(symbol, scope)
    default:
      return try nested(expression.line) {
        try charge()
        return try evaluateInner(expression, scope)
      }
    }
  }

  private func name(_ symbol: Int, _ scope: JinjaScope) throws -> JinjaValue {
    if let value = try look(symbol, scope) { return value }
    let name = program.names[symbol]
    try charge(name.utf8.count / 16)
    return JinjaFunction.names.contains(name)
      ? .function(name) : .undefined(JinjaUndefined(message: "'\(name)' is undefined"))
  }

  private func evaluateInner(_ expression: JinjaExpression, _ scope: JinjaScope) throws
    -> JinjaValue
  {
    switch expression.form {
    case .none, .bool, .integer, .float, .text, .name: return try evaluate(expression, scope)
    case .list(let elements): return .list(try list(elements.map { try evaluate($0, scope) }))
    case .tuple(let elements): return .tuple(try list(elements.map { try evaluate($0, scope) }))
    case .dictionary(let entries):
      var dictionary = JinjaDictionary()
      for (key, value) in entries {
        let key = try evaluate(key, scope)
        try charge(key.weight)
        try dictionary.set(key, evaluate(value, scope))
      }
      return .dictionary(dictionary)
    case .attribute(let object, let name): return try attribute(evaluate(object, scope), name)
    case .item(let object, let index):
      return try item(evaluate(object, scope), evaluate(index, scope))
    case .slice(let object, let from, let to, let step):
      return try slice(
        evaluate(object, scope), from.map { try evaluate($0, scope) } ?? .none,
        to.map { try evaluate($0, scope) } ?? .none, step.map { try evaluate($0, scope) } ?? .none)
    case .call(let callee, let arguments):
      let function = try evaluate(callee, scope)
      return try call(function, self.arguments(arguments, scope))
    case .filter(let value, _, _):
      return try apply(
        expression, to: value.map { try evaluate($0, scope) } ?? .none, scope)
    case .test(let value, let name, let arguments):
      return .bool(
        try JinjaTest.passes(
          name, evaluate(value, scope), self.arguments(arguments, scope), self))
    case .negative(let operand): return try negated(evaluate(operand, scope))
    case .positive(let operand):
      let value = try evaluate(operand, scope)
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      if case .bool(let flag) = value { return .integer(flag ? 1 : 0) }
      guard value.asDouble != nil else {
        throw JinjaError("bad operand type for unary +: '\(value.typeName)'")
      }
      return value
    case .not(let operand): return .bool(!(try evaluate(operand, scope).isTrue))
    case .and(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? try evaluate(right, scope) : value
    case .or(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? value : try evaluate(right, scope)
    case .arithmetic(let kind, let left, let right):
      return try kind.apply(evaluate(left, scope), evaluate(right, scope), self)
    case .comparison(let first, let operands):
      try charge(operands.count / 4)
      var left = try evaluate(first, scope)
      for (comparison, operand) in operands {
        let right = try evaluate(operand, scope)
        guard try comparison.holds(left, right, self) else { return .bool(false) }
        left = right
      }
      return .bool(true)
    case .concatenation(let parts):
      var bytes: [UInt8] = []
      for part in parts {
        bytes += try text(evaluate(part, scope)).bytes
        try JinjaLimits.checkText(bytes.count)
      }
      try charge(parts.count / 4)
      return .text(try checked(JinjaText(bytes)))
    case .conditional(let test, let then, let otherwise):
      if try evaluate(test, scope).isTrue { return try evaluate(then, scope) }
      return try otherwise.map { try evaluate($0, scope) }
        ?? .undefined(
          JinjaUndefined(
            message: "the inline if-expression on line \(expression.line) evaluated to false and "
              + "no else section was defined"))
    }
  }

  private func negated(_ value: JinjaValue) throws -> JinjaValue {
    switch value {
    case .undefined(let undefined): throw JinjaError(undefined.message)
    case .float(let number): return .float(-number)
    default:
      guard let number = value.asInteger else {
        throw JinjaError("bad operand type for unary -: '\(value.typeName)'")
      }
      return .integer(try JinjaOperator.exact(0.subtractingReportingOverflow(number)))
    }
  }

  /// A filter expression, applied to a value other than its own.
  func apply(_ expression: JinjaExpression, to value: JinjaValue, _ scope: JinjaScope) throws
    -> JinjaValue
  {
    guard case .filter(let inner, let name, let arguments) = expression.form else { return value }
    // In a block the chain of filters begins with the block's text.
    var value = value
    if let inner, case .filter = inner.form, isBlockChain(inner) {
      value = try apply(inner, to: value, scope)
    }
    let call = try self.arguments(arguments, scope)
    return try nested(expression.line) { try JinjaFilter.apply(name, value, call, self) }
  }

  private func isBlockChain(_ expression: JinjaExpression) -> Bool {
    guard case .filter(let inner, _, _) = expression.form else { return false }
    return inner.map(isBlockChain) ?? true
  }

  func arguments(_ arguments: JinjaArguments, _ scope: JinjaScope) throws -> JinjaCall {
    var call = JinjaCall()
    let named = arguments.named.count
    try charge(arguments.positional.count / 4 + named * (named + 4) / 16)
    call.positional = try arguments.positional.map { try evaluate($0, scope) }
    for (name, value) in arguments.named {
      guard !call.named.contains(where: { $0.name == name }) else {
        throw JinjaError(.syntax, "the argument '\(name)' is given twice")
      }
      call.named.append((name, try evaluate(value, scope)))
    }
    if let spread = arguments.spread {
      let elements = try iterate(evaluate(spread, scope))
      try charge(elements.count)
      call.positional += elements
    }
    if let spread = arguments.namedSpread {
      guard case .dictionary(let dictionary) = try evaluate(spread, scope) else {
        throw JinjaError("what follows ** in a call is no mapping")
      }
      try charge(dictionary.entries.count)
      for (key, value) in dictionary.entries {
        guard case .text(let name) = key else { throw JinjaError("keywords must be strings") }
        call.named.append((name.string, value))
      }
    }
    return call
  }

  // MARK: parts of values

  /// `object.name`: an attribute before an element, as jinja2 looks.
  func attribute(_ object: JinjaValue, _ name: String) throws -> JinjaValue {
    try charge(name.utf8.count / 16)
    if case .undefined(let undefined) = object { throw JinjaError(undefined.message) }
    if let value = try ownAttribute(object, name) { return value }
    if case .dictionary(let dictionary) = object, let value = dictionary[name] { return value }
    return missing(object, .text(name))
  }

  /// What Python's `getattr` finds, in so far as templates may have it; nil for nothing.
  func ownAttribute(_ object: JinjaValue, _ name: String) throws -> JinjaValue? {
    switch object {
    case .loop(let loop): return loop.attribute(name)
    case .namespace(let namespace): return namespace.value(name)
    case .group(let list) where name == "grouper": return list.elements[0]
    case .group(let list) where name == "list": return list.elements[1]
    case .macro(let macro) where name == "name": return .text(macro.name)
    default: break
    }
    guard let methods = JinjaMethods.known[object.typeName] else { return nil }
    if methods.mutating.contains(name) {
      return .undefined(
        JinjaUndefined(
          message: "access to attribute '\(name)' of '\(object.typeName)' object is not allowed."))
    }
    return methods.reading.contains(name) ? .method(JinjaMethod(object, name)) : nil
  }

  /// `object[index]`: an element before an attribute.
  func item(_ object: JinjaValue, _ index: JinjaValue) throws -> JinjaValue {
    try charge(index.weight / 4)
    switch object {
    case .undefined(let undefined): throw JinjaError(undefined.message)
    case .dictionary(let dictionary): if let value = dictionary[index] { return value }
    case .list(let list), .tuple(let list), .group(let list):
      if let position = position(index, count: list.elements.count) {
        return list.elements[position]
      }
    case .range(let range):
      if let position = position(index, count: range.count) { return .integer(range[position]) }
    case .text(let text):
      if let position = position(index, count: text.count) {
        try charge(text.count == text.bytes.count ? 1 : text.bytes.count / 16)
        return .text(text.slice(position..<position + 1))
      }
    default: break
    }
    if case .text(let name) = index, let value = try ownAttribute(object, name.string) {
      return value
    }
    return missing(object, index)
  }

  private func position(_ index: JinjaValue, count: Int) -> Int? {
    guard let number = index.asInteger, number >= -count, number < count else { return nil }
    return number < 0 ? number + count : number
  }

  private func missing(_ object: JinjaValue, _ name: JinjaValue) -> JinjaValue {
    let type = object.isNone ? "None" : "\(object.typeName) object"
    if case .text(let text) = name {
      return .undefined(
        JinjaUndefined(message: "'\(type)' has no attribute \(JinjaValue.quoted(text.string))"))
    }
    let shown = (try? name.representation()) ?? name.typeName
    return .undefined(JinjaUndefined(message: "\(type) has no element \(shown)"))
  }

  private func slice(
    _ object: JinjaValue, _ from: JinjaValue, _ to: JinjaValue, _ by: JinjaValue
  ) throws -> JinjaValue {
    func bound(_ value: JinjaValue) throws -> Int? {
      if value.isNone { return nil }
      guard let number = value.asInteger else {
        throw JinjaError(
          "slice indices must be integers or None, not '\(value.typeName)'")
      }
      return number
    }
    if case .undefined(let undefined) = object { throw JinjaError(undefined.message) }
    let count: Int
    switch object {
    case .text(let text): count = text.count
    case .list(let list), .tuple(let list), .group(let list): count = list.elements.count
    case .range(let range): count = range.count
    default: throw JinjaError("'\(object.typeName)' object cannot be sliced")
    }
    let step = try bound(by) ?? 1
    guard step != 0 else { throw JinjaError("slice step cannot be zero") }
    // As Python clips the bounds of a slice.
    func clip(_ value: Int?, _ whenMissing: Int) -> Int {
      guard let value else { return whenMissing }
      let absolute = value < 0 ? value + count : value
      return step > 0 ? min(max(absolute, 0), count) : min(max(absolute, -1), count - 1)
    }
    let start = clip(try bound(from), step > 0 ? 0 : count - 1)
    let stop = clip(try bound(to), step > 0 ? count : -1)
    let length =
      step > 0
      ? (stop > start ? (stop - start - 1) / step + 1 : 0)
      : (start > stop ? (start - stop - 1) / Int(min(step.magnitude, UInt(Int.max))) + 1 : 0)
    switch object {
    case .text(let text): try charge(step == 1 ? text.bytes.count / 16 : count)
    case .range: break
    default: try charge(length)
    }
    func pick<Element>(_ elements: [Element]) -> [Element] {
      (0..<length).map { elements[start + $0 * step] }
    }
    switch object {
    case .text(let text):
      if step == 1 { return .text(text.slice(start..<max(start, stop))) }
      return .text(JinjaText(pick(Array(text.scalars))))
    case .list(let list): return .list(try JinjaList(pick(list.elements)))
    case .tuple(let list), .group(let list): return .tuple(try JinjaList(pick(list.elements)))
    case .range(let range):
      func place(_ index: Int) throws -> Int {
        let distance = try JinjaOperator.exact(range.step.multipliedReportingOverflow(by: index))
        return try JinjaOperator.exact(range.start.addingReportingOverflow(distance))
      }
      return .range(
        JinjaRange(
          start: try place(start),
          step: try JinjaOperator.exact(range.step.multipliedReportingOverflow(by: step)),
          count: length, stop: try place(stop)))
    default: return .none
    }
  }

  // MARK: calls

  func call(_ function: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    switch function {
    case .macro(let macro): return try self.call(macro, call)
    case .function(let name): return try JinjaFunction.call(name, call, self)
    case .method(let method): return try JinjaMethods.call(method, call, self)
    case .undefined(let undefined): throw JinjaError(undefined.message)
    case .loop(let loop) where loop.statement.isRecursive:
      let elements = try iterate(call.bind("loop", ["iterable"], required: 1)[0] ?? .none)
      return .text(
        try capture {
          try run(
            loop.statement, over: elements, recursionDepth: loop.recursionDepth + 1, loop.scope)
        })
    case .loop:
      throw JinjaError("the loop is called, but has no 'recursive' at its end")
    default: throw JinjaError("'\(function.typeName)' object is not callable")
    }
  }
}
