/// What stands after `is`.
enum JinjaTest {
  static let names: Set<String> = [
    "odd", "even", "divisibleby", "defined", "undefined", "filter", "test", "none", "boolean",
    "false", "true", "integer", "float", "lower", "upper", "string", "mapping", "number",
    "sequence", "iterable", "callable", "sameas", "escaped", "in", "==", "eq", "equalto", "!=",
    "ne", ">", "gt", "greaterthan", "ge", ">=", "<", "lt", "lessthan", "<=", "le",
  ]

  private static let comparisons: [String: JinjaComparison] = [
    "==": .equal, "eq": .equal, "equalto": .equal, "!=": .notEqual, "ne": .notEqual,
    ">": .greater, "gt": .greater, "greaterthan": .greater, ">=": .greaterOrEqual,
    "ge": .greaterOrEqual, "<": .less, "lt": .less, "lessthan": .less, "<=": .lessOrEqual,
    "le": .lessOrEqual, "in": .isIn,
  ]

  /// Whether a value passes a test.
  static func passes(
    _ name: String, _ value: JinjaValue, _ call: JinjaCall, _ renderer: JinjaRenderer
  ) throws -> Bool {
    if let comparison = comparisons[name] {
      let other = try call.bind(name, ["other"], required: 1)[0] ?? .none
      return try comparison.holds(value, other, renderer)
    }
    switch name {
    case "divisibleby":
      let other = try call.bind(name, ["num"], required: 1)[0] ?? .none
      return try JinjaOperator.modulo.apply(value, other, renderer).equals(.integer(0))
    case "sameas":
      let other = try call.bind(name, ["other"], required: 1)[0] ?? .none
      return try isSame(value, other)
    default: break
    }
    _ = try call.bind(name, [])
    switch name {
    case "odd", "even":
      let rest = try JinjaOperator.modulo.apply(value, .integer(2), renderer)
      return rest.equals(.integer(name == "odd" ? 1 : 0))
    case "defined": return !value.isUndefined
    case "undefined": return value.isUndefined
    case "filter": return try JinjaFilter.names.contains(renderer.read(value).string)
    case "test": return try names.contains(renderer.read(value).string)
    case "none": return value.isNone
    case "boolean", "true", "false":
      guard case .bool(let flag) = value else { return false }
      return name == "boolean" || flag == (name == "true")
    case "integer": if case .integer = value { return true }
    case "float": if case .float = value { return true }
    case "number": return value.asDouble != nil
    case "string": if case .text = value { return true }
    case "escaped": if case .text(let text) = value { return text.isSafe }
    case "lower", "upper":
      let text = try renderer.read(value)
      let other = name == "lower" ? JinjaCase.upper : JinjaCase.lower
      return JinjaCase.isCased(text) && text.scalars.allSatisfy { !other($0) }
    case "mapping": if case .dictionary = value { return true }
    case "sequence":
      switch value {
      case .text, .list, .tuple, .group, .dictionary, .range: return true
      default: return false
      }
    case "iterable":
      switch value {
      case .none, .bool, .integer, .float, .function, .method, .macro, .namespace: return false
      default: return true
      }
    case "callable":
      switch value {
      case .function, .method, .macro, .loop, .undefined: return true
      default: return false
      }
    default: break
    }
    return false
  }

  private static func isSame(_ left: JinjaValue, _ right: JinjaValue) throws -> Bool {
    switch (left, right) {
    case (.none, .none): return true
    case (.bool(let first), .bool(let second)): return first == second
    case (.bool, _), (_, .bool), (.none, _), (_, .none): return false
    case (.namespace(let first), .namespace(let second)): return first === second
    default:
      // Whether two numbers or texts are one object depends on the Python that runs.
      throw JinjaError("'sameas' is supported for none, true, false and namespaces only")
    }
  }
}

/// Upper and lower case as Python's texts have them.
enum JinjaCase {
  static func upper(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isUppercase || scalar.properties.generalCategory == .titlecaseLetter
  }
  static func lower(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isLowercase }

  static func isCased(_ text: JinjaText) -> Bool {
    text.scalars.contains { upper($0) || lower($0) }
  }
}
