internal import Glibc

extension JinjaOperator {
  /// Python's operator between two values.
  func apply(_ left: JinjaValue, _ right: JinjaValue, _ renderer: JinjaRenderer) throws
    -> JinjaValue
  {
    for case .undefined(let undefined) in [left, right] {
      // A text formats whatever stands to its right, also what is undefined.
      if self == .modulo, case .text = left { continue }
      throw JinjaError(undefined.message)
    }
    switch (self, left, right) {
    case (.add, .text(let first), .text(let second)):
      try renderer.checkSize(first.bytes.count + second.bytes.count)
      return .text(Self.joined(first, second))
    case (.add, .list(let first), .list(let second)):
      return .list(try renderer.list(first.elements + second.elements))
    case (.add, .tuple(let first), .tuple(let second)):
      return .tuple(try renderer.list(first.elements + second.elements))
    case (.modulo, .text(let format), _):
      return .text(try JinjaFormat.percent(format, right, renderer))
    case (.multiply, .text(let text), _):
      guard let count = right.asInteger else { break }
      return .text(try Self.repeated(text, count, renderer))
    case (.multiply, _, .text(let text)):
      guard let count = left.asInteger else { break }
      return .text(try Self.repeated(text, count, renderer))
    case (.multiply, .list(let list), _):
      guard let count = right.asInteger else { break }
      return .list(try Self.repeated(list, count, renderer))
    case (.multiply, _, .list(let list)):
      guard let count = left.asInteger else { break }
      return .list(try Self.repeated(list, count, renderer))
    case (.multiply, .tuple(let list), _):
      guard let count = right.asInteger else { break }
      return .tuple(try Self.repeated(list, count, renderer))
    case (.multiply, _, .tuple(let list)):
      guard let count = left.asInteger else { break }
      return .tuple(try Self.repeated(list, count, renderer))
    default: break
    }
    if let first = left.asInteger, let second = right.asInteger {
      return try Self.integers(self, first, second)
    }
    guard let first = left.asDouble, let second = right.asDouble else {
      throw JinjaError(
        "unsupported operand type(s) for \(rawValue): '\(left.typeName)' and '\(right.typeName)'")
    }
    return .float(try Self.floats(self, first, second))
  }

  private static func joined(_ first: JinjaText, _ second: JinjaText) -> JinjaText {
    guard first.isSafe || second.isSafe else { return JinjaText(first.bytes + second.bytes) }
    return JinjaText(first.escaped.bytes + second.escaped.bytes, isSafe: true)
  }

  private static func repeated(_ text: JinjaText, _ count: Int, _ renderer: JinjaRenderer) throws
    -> JinjaText
  {
    guard count > 0, !text.isEmpty else { return JinjaText([UInt8](), isSafe: text.isSafe) }
    let (size, overflows) = text.bytes.count.multipliedReportingOverflow(by: count)
    try renderer.checkSize(overflows ? .max : size)
    return JinjaText(
      Array(repeatElement(text.bytes, count: count).joined()), isSafe: text.isSafe)
  }

  private static func repeated(_ list: JinjaList, _ count: Int, _ renderer: JinjaRenderer) throws
    -> JinjaList
  {
    guard count > 0, !list.elements.isEmpty else { return .empty }
    let (size, overflows) = list.elements.count.multipliedReportingOverflow(by: count)
    guard !overflows, size <= JinjaLimits.elements else {
      throw JinjaError(.limit, "a list of more than \(JinjaLimits.elements) elements")
    }
    return try renderer.list(Array(repeatElement(list.elements, count: count).joined()))
  }

  static func exact(_ result: (partialValue: Int, overflow: Bool)) throws -> Int {
    guard !result.overflow else {
      throw JinjaError(.limit, "an integer of more than 64 bits")
    }
    return result.partialValue
  }

  private static func integers(_ kind: JinjaOperator, _ first: Int, _ second: Int) throws
    -> JinjaValue
  {
    switch kind {
    case .add: return .integer(try exact(first.addingReportingOverflow(second)))
    case .subtract: return .integer(try exact(first.subtractingReportingOverflow(second)))
    case .multiply: return .integer(try exact(first.multipliedReportingOverflow(by: second)))
    case .divide:
      guard second != 0 else { throw JinjaError("division by zero") }
      return .float(Double(first) / Double(second))
    case .floorDivide, .modulo:
      guard second != 0 else { throw JinjaError("integer division or modulo by zero") }
      // Python rounds down, and the rest has the sign of the divisor.
      let quotient = try exact(first.dividedReportingOverflow(by: second))
      let rest = first - quotient * second
      let isBelow = rest != 0 && (rest < 0) != (second < 0)
      if kind == .floorDivide { return .integer(isBelow ? quotient - 1 : quotient) }
      return .integer(isBelow ? rest + second : rest)
    case .power:
      if second < 0 {
        guard first != 0 else { throw JinjaError("0.0 cannot be raised to a negative power") }
        return .float(pow(Double(first), Double(second)))
      }
      var result = 1
      var base = first
      var exponent = second
      while exponent > 0 {
        if exponent & 1 == 1 { result = try exact(result.multipliedReportingOverflow(by: base)) }
        exponent >>= 1
        if exponent > 0 { base = try exact(base.multipliedReportingOverflow(by: base)) }
      }
      return .integer(result)
    }
  }

  private static func floats(_ kind: JinjaOperator, _ first: Double, _ second: Double) throws
    -> Double
  {
    switch kind {
    case .add: return first + second
    case .subtract: return first - second
    case .multiply: return first * second
    case .divide:
      guard second != 0 else { throw JinjaError("float division by zero") }
      return first / second
    case .floorDivide, .modulo:
      guard second != 0 else { throw JinjaError("float division or modulo by zero") }
      var rest = fmod(first, second)
      var quotient = (first - rest) / second
      if rest != 0 {
        if (second < 0) != (rest < 0) {
          rest += second
          quotient -= 1
        }
      } else {
        rest = copysign(0, second)
      }
      if kind == .modulo { return rest }
      if quotient == 0 { return copysign(0, first / second) }
      let floored = quotient.rounded(.down)
      return quotient - floored > 0.5 ? floored + 1 : floored
    case .power:
      guard first != 0 || second >= 0 else {
        throw JinjaError("0.0 cannot be raised to a negative power")
      }
      guard first >= 0 || second == second.rounded() else {
        throw JinjaError("complex numbers are not supported")
      }
      let result = pow(first, second)
      guard result.isFinite || !first.isFinite || !second.isFinite else {
        throw JinjaError("the result of ** is too large")
      }
      return result
    }
  }

  /// Python's `<`.
  static func isLess(_ left: JinjaValue, _ right: JinjaValue) throws -> Bool {
    switch (left, right) {
    case (.undefined(let undefined), _), (_, .undefined(let undefined)):
      throw JinjaError(undefined.message)
    case (.text(let first), .text(let second)): return first < second
    case (.list(let first), .list(let second)), (.tuple(let first), .tuple(let second)),
      (.group(let first), .group(let second)):
      for (one, other) in zip(first.elements, second.elements) where !one.equals(other) {
        return try isLess(one, other)
      }
      return first.elements.count < second.elements.count
    default:
      if let first = left.asInteger, let second = right.asInteger { return first < second }
      guard let first = left.asDouble, let second = right.asDouble else {
        throw JinjaError(
          "'<' not supported between instances of '\(left.typeName)' and '\(right.typeName)'")
      }
      return first < second
    }
  }
}

extension JinjaComparison {
  func holds(_ left: JinjaValue, _ right: JinjaValue, _ renderer: JinjaRenderer) throws -> Bool {
    switch self {
    case .equal: return try renderer.areEqual(left, right)
    case .notEqual: return !(try renderer.areEqual(left, right))
    case .less: return try renderer.isLess(left, right)
    case .greater: return try renderer.isLess(right, left)
    case .lessOrEqual:
      return try renderer.isLess(left, right) || renderer.areEqual(left, right)
    case .greaterOrEqual:
      return try renderer.isLess(right, left) || renderer.areEqual(left, right)
    case .isIn: return try Self.contains(right, left, renderer)
    case .isNotIn: return !(try Self.contains(right, left, renderer))
    }
  }

  /// Python's `value in container`.
  static func contains(
    _ container: JinjaValue, _ value: JinjaValue, _ renderer: JinjaRenderer
  ) throws -> Bool {
    switch container {
    case .text(let text):
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      guard case .text(let part) = value else {
        throw JinjaError(
          "'in <string>' requires string as left operand, not \(value.typeName)")
      }
      try renderer.charge((text.bytes.count + part.bytes.count) / 16)
      return text.firstIndex(of: part) != nil
    case .dictionary(let dictionary):
      try renderer.charge(value.weight / 4)
      guard JinjaKey(value) != nil || value.isUndefined else {
        throw JinjaError("unhashable type: '\(value.typeName)'")
      }
      return dictionary[value] != nil
    case .none, .bool, .integer, .float, .function, .method, .macro, .namespace:
      throw JinjaError("argument of type '\(container.typeName)' is not iterable")
    default:
      let elements = try renderer.iterate(container)
      try renderer.charge(elements.count)
      return try elements.contains { try renderer.areEqual($0, value) }
    }
  }
}
