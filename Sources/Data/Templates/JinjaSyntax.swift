/// An expression of a template.
struct JinjaExpression: Sendable {
  indirect enum Form: Sendable {
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case text(JinjaText)
    case name(Int)
    case list([JinjaExpression])
    case tuple([JinjaExpression])
    case dictionary([(key: JinjaExpression, value: JinjaExpression)])
    case attribute(JinjaExpression, String)
    case item(JinjaExpression, JinjaExpression)
    case slice(JinjaExpression, from: JinjaExpression?, to: JinjaExpression?, by: JinjaExpression?)
    case call(JinjaExpression, JinjaArguments)
    /// Without an expression in a `set` or `filter` block, where the block is filtered.
    case filter(JinjaExpression?, String, JinjaArguments)
    case test(JinjaExpression, String, JinjaArguments)
    case negative(JinjaExpression)
    case positive(JinjaExpression)
    case not(JinjaExpression)
    case and(JinjaExpression, JinjaExpression)
    case or(JinjaExpression, JinjaExpression)
    case arithmetic(JinjaOperator, JinjaExpression, JinjaExpression)
    case comparison(JinjaExpression, [(JinjaComparison, JinjaExpression)])
    case concatenation([JinjaExpression])
    case conditional(test: JinjaExpression, then: JinjaExpression, otherwise: JinjaExpression?)
  }

  let form: Form
  let line: Int
}

/// The arguments of a call.
struct JinjaArguments: Sendable {
  var positional: [JinjaExpression] = []
  var named: [(name: String, value: JinjaExpression)] = []
  /// `*list`.
  var spread: JinjaExpression?
  /// `**mapping`.
  var namedSpread: JinjaExpression?
}

enum JinjaOperator: String, Sendable {
  case add = "+"
  case subtract = "-"
  case multiply = "*"
  case divide = "/"
  case floorDivide = "//"
  case modulo = "%"
  case power = "**"
}

enum JinjaComparison: String, Sendable {
  case equal = "=="
  case notEqual = "!="
  case less = "<"
  case lessOrEqual = "<="
  case greater = ">"
  case greaterOrEqual = ">="
  case isIn = "in"
  case isNotIn = "not in"
}

/// What is assigned to.
indirect enum JinjaTarget: Sendable {
  case name(Int)
  /// An attribute of a namespace.
  case attribute(Int, String)
  case tuple([JinjaTarget])
}

/// A statement of a template.
struct JinjaStatement: Sendable {
  indirect enum Form: Sendable {
    case data(JinjaText)
    case output(JinjaExpression)
    case set(JinjaTarget, JinjaExpression)
    /// The text of a body, filtered.
    case setBlock(JinjaTarget, filter: JinjaExpression?, body: [JinjaStatement])
    case conditional([(test: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
    case loop(JinjaForLoop)
    case macro(JinjaMacroDefinition)
    case call(JinjaExpression, JinjaMacroDefinition)
    case filter(JinjaExpression, body: [JinjaStatement])
    case with([(target: JinjaTarget, value: JinjaExpression)], body: [JinjaStatement])
    /// What the model writes, as the template's author marked it.
    case generation([JinjaStatement])
    case breakLoop
    case continueLoop
  }

  let form: Form
  let line: Int
}

final class JinjaForLoop: Sendable {
  let target: JinjaTarget
  let elements: JinjaExpression
  let condition: JinjaExpression?
  let isRecursive: Bool
  let body: [JinjaStatement]
  let otherwise: [JinjaStatement]

  init(
    target: JinjaTarget, elements: JinjaExpression, condition: JinjaExpression?,
    isRecursive: Bool, body: [JinjaStatement], otherwise: [JinjaStatement]
  ) {
    self.target = target
    self.elements = elements
    self.condition = condition
    self.isRecursive = isRecursive
    self.body = body
    self.otherwise = otherwise
  }
}

final class JinjaMacroDefinition: Sendable {
  let name: String
  let symbol: Int
  /// Names of the parameters; the last ones have defaults.
  let parameters: [(name: String, symbol: Int)]
  let defaults: [JinjaExpression]
  let body: [JinjaStatement]
  /// Which of `caller`, `varargs` and `kwargs` the body uses.
  let usesCaller: Bool
  let usesVariadic: Bool
  let usesKeywords: Bool

  init(
    name: String, symbol: Int, parameters: [(name: String, symbol: Int)],
    defaults: [JinjaExpression], body: [JinjaStatement], used: Set<String>
  ) {
    self.name = name
    self.symbol = symbol
    self.parameters = parameters
    self.defaults = defaults
    self.body = body
    let own = Set(parameters.map(\.name))
    usesCaller = used.contains("caller") && !own.contains("caller")
    usesVariadic = used.contains("varargs") && !own.contains("varargs")
    usesKeywords = used.contains("kwargs") && !own.contains("kwargs")
  }
}
