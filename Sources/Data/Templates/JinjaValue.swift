internal import Support

/// A value inside a template: data, and the few things a template makes itself.
enum JinjaValue {
  case undefined(JinjaUndefined)
  case none
  case bool(Bool)
  case integer(Int)
  case float(Double)
  case text(JinjaText)
  case list(JinjaList)
  case tuple(JinjaList)
  case dictionary(JinjaDictionary)
  case range(JinjaRange)
  /// What `keys`, `values` and `items` of a dictionary give.
  case view(name: String, JinjaList)
  /// What filters give that Python evaluates one by one: read once.
  case iterator(JinjaIterator)
  /// What `groupby` gives: the key, and the elements that have it.
  case group(JinjaList)
  case namespace(JinjaNamespace)
  case loop(JinjaLoop)
  case macro(JinjaMacro)
  /// A function of the environment.
  case function(String)
  /// A method of a value.
  case method(JinjaMethod)

  /// Lists nest at most as deep as ``JinjaLimits`` allow; leaves have the depth 0.
  var depth: Int {
    switch self {
    case .list(let list), .tuple(let list), .view(_, let list), .group(let list): list.depth
    case .dictionary(let dictionary): dictionary.depth
    case .iterator(let iterator): iterator.depth
    case .method(let method): method.receiver.depth
    default: 0
    }
  }

  /// How much work it is to walk over the whole value: one for each part and for 16 bytes of text.
  /// Parts that stand in several places count in each, so that a small value may weigh very much.
  var weight: Int {
    switch self {
    case .text(let text): 1 + text.bytes.count / 16
    case .list(let list), .tuple(let list), .group(let list): list.weight
    // Views are compared each element with each.
    case .view(_, let list): Self.bounded(list.weight * (1 + list.elements.count / 16))
    case .dictionary(let dictionary): dictionary.weight
    case .method(let method): method.receiver.weight
    default: 1
    }
  }

  /// Keeps weights far from overflow, and far above what may be done.
  static func bounded(_ weight: Int) -> Int { min(weight, 1 << 40) }

  static func text(_ text: String) -> JinjaValue { .text(JinjaText(text)) }
}

/// A name or an element that is not there. Printing it gives nothing; using it is an error.
struct JinjaUndefined {
  /// What the error says.
  var message: String
}

/// Elements with the depth of the deepest and the weight of all.
struct JinjaList {
  let elements: [JinjaValue]
  let depth: Int
  let weight: Int

  init(_ elements: [JinjaValue]) throws {
    self.elements = elements
    depth = 1 + (elements.lazy.map(\.depth).max() ?? 0)
    weight = elements.reduce(1) { JinjaValue.bounded($0 + $1.weight) }
    guard depth <= JinjaLimits.valueDepth else {
      throw JinjaError(.limit, "values nest deeper than \(JinjaLimits.valueDepth) levels")
    }
    try JinjaLimits.checkElements(elements.count)
  }

  static var empty: JinjaList { JinjaList(unchecked: []) }
  private init(unchecked elements: [JinjaValue]) {
    self.elements = elements
    depth = 1
    weight = 1
  }
}

/// A method name together with what it belongs to.
final class JinjaMethod {
  let receiver: JinjaValue
  let name: String
  init(_ receiver: JinjaValue, _ name: String) {
    self.receiver = receiver
    self.name = name
  }
}

/// Elements that are read once.
final class JinjaIterator {
  private var elements: [JinjaValue]
  private var position = 0
  let depth: Int

  init(_ elements: [JinjaValue]) throws {
    self.elements = elements
    depth = try JinjaList(elements).depth
  }

  /// All that were not read.
  func takeAll() -> [JinjaValue] {
    defer { position = elements.count }
    return Array(elements[position...])
  }

  /// The next, or nil.
  func next() -> JinjaValue? {
    guard position < elements.count else { return nil }
    position += 1
    return elements[position - 1]
  }
}

/// A mutable object of a template; the only one that `set` may write to.
final class JinjaNamespace {
  private var attributes: [ExactString: JinjaValue] = [:]

  func value(_ name: String) -> JinjaValue? { attributes[ExactString(name)] }
  func set(_ name: String, _ value: JinjaValue) { attributes[ExactString(name)] = value }

  /// Ends circles of namespaces and what they hold.
  func removeAll() { attributes = [:] }
}

/// Python's `range`.
struct JinjaRange {
  let start: Int
  let step: Int
  let count: Int
  let stop: Int

  subscript(index: Int) -> Int { start + index * step }
  var values: [JinjaValue] { (0..<count).map { .integer(self[$0]) } }
}

/// Key and value pairs in the order of their insertion.
struct JinjaDictionary {
  private(set) var entries: [(key: JinjaValue, value: JinjaValue)] = []
  /// Of the entries, one by one, as long as they are few.
  private var keys: [JinjaKey] = []
  /// Of the entries, when they are many.
  private var index: [JinjaKey: Int] = [:]
  private(set) var depth = 1
  private(set) var weight = 1

  private static let smallCount = 8

  init() {}

  private func position(_ key: JinjaKey) -> Int? {
    guard index.isEmpty else { return index[key] }
    return keys.firstIndex(of: key)
  }

  subscript(key: JinjaValue) -> JinjaValue? {
    guard let key = JinjaKey(key) else { return nil }
    return position(key).map { entries[$0].value }
  }

  subscript(name: String) -> JinjaValue? { self[.text(name)] }

  mutating func set(_ key: JinjaValue, _ value: JinjaValue) throws {
    guard let hashed = JinjaKey(key) else {
      throw JinjaError("unhashable type: '\(key.typeName)'")
    }
    depth = max(depth, 1 + max(value.depth, key.depth))
    guard depth <= JinjaLimits.valueDepth else {
      throw JinjaError(.limit, "values nest deeper than \(JinjaLimits.valueDepth) levels")
    }
    if let position = position(hashed) {
      weight = JinjaValue.bounded(weight + value.weight)
      entries[position].value = value
      return
    }
    weight = JinjaValue.bounded(weight + key.weight + value.weight)
    entries.append((key, value))
    if index.isEmpty {
      keys.append(hashed)
      guard keys.count > Self.smallCount else { return }
      for (position, key) in keys.enumerated() { index[key] = position }
      keys = []
    } else {
      index[hashed] = entries.count - 1
    }
  }
}

/// What two keys of a dictionary are compared by; `1`, `1.0` and `True` are one key.
enum JinjaKey: Hashable {
  case undefined
  case none
  case integer(Int)
  case float(Double)
  case text(JinjaText)
  case tuple([JinjaKey])

  /// Nil for what Python cannot hash.
  init?(_ value: JinjaValue) {
    switch value {
    case .undefined: self = .undefined
    case .none: self = .none
    case .bool(let flag): self = .integer(flag ? 1 : 0)
    case .integer(let number): self = .integer(number)
    case .float(let number): self = Int(exactly: number).map { .integer($0) } ?? .float(number)
    case .text(let text): self = .text(text)
    case .tuple(let list), .group(let list):
      let keys = list.elements.map { JinjaKey($0) }
      guard keys.allSatisfy({ $0 != nil }) else { return nil }
      self = .tuple(keys.compactMap { $0 })
    default: return nil
    }
  }
}

extension JinjaValue {
  /// A JSON document as data of a template.
  init(_ json: JSONValue) throws {
    switch json {
    case .null: self = .none
    case .bool(let flag): self = .bool(flag)
    case .integer(let number): self = .integer(number)
    case .double(let number): self = .float(number)
    case .string(let text): self = .text(text)
    case .array(let elements):
      self = .list(try JinjaList(try elements.map { try JinjaValue($0) }))
    case .object(let object):
      var dictionary = JinjaDictionary()
      for (name, value) in object.members { try dictionary.set(.text(name), JinjaValue(value)) }
      self = .dictionary(dictionary)
    }
  }

  /// What Python calls the type.
  var typeName: String {
    switch self {
    case .undefined: "Undefined"
    case .none: "NoneType"
    case .bool: "bool"
    case .integer: "int"
    case .float: "float"
    case .text(let text): text.isSafe ? "Markup" : "str"
    case .list: "list"
    case .tuple: "tuple"
    case .group: "_GroupTuple"
    case .dictionary: "dict"
    case .range: "range"
    case .view(let name, _): name
    case .iterator: "generator"
    case .namespace: "Namespace"
    case .loop: "LoopContext"
    case .macro: "Macro"
    case .function: "function"
    case .method: "builtin_function_or_method"
    }
  }

  /// Whether Python takes the value for true.
  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .bool(let flag): flag
    case .integer(let number): number != 0
    case .float(let number): number != 0
    case .text(let text): !text.isEmpty
    case .list(let list), .tuple(let list), .view(_, let list), .group(let list):
      !list.elements.isEmpty
    case .dictionary(let dictionary): !dictionary.entries.isEmpty
    case .range(let range): range.count > 0
    case .loop, .iterator, .namespace, .macro, .function, .method: true
    }
  }

  var isUndefined: Bool { if case .undefined = self { true } else { false } }
  var isNone: Bool { if case .none = self { true } else { false } }

  /// The value as an integer where Python takes it for one; booleans are.
  var asInteger: Int? {
    switch self {
    case .bool(let flag): flag ? 1 : 0
    case .integer(let number): number
    default: nil
    }
  }

  var asDouble: Double? {
    if case .float(let number) = self { return number }
    return asInteger.map(Double.init)
  }

  /// Whether two values are equal as Python's `==` tells.
  func equals(_ other: JinjaValue) -> Bool {
    switch (self, other) {
    case (.undefined, .undefined), (.none, .none): return true
    case (.text(let left), .text(let right)): return left == right
    case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)),
      (.group(let left), .group(let right)), (.tuple(let left), .group(let right)),
      (.group(let left), .tuple(let right)):
      return left.elements.count == right.elements.count
        && zip(left.elements, right.elements).allSatisfy { $0.equals($1) }
    case (.dictionary(let left), .dictionary(let right)):
      return left.entries.count == right.entries.count
        && left.entries.allSatisfy { entry in
          right[entry.key].map { entry.value.equals($0) } ?? false
        }
    case (.range(let left), .range(let right)):
      return left.count == right.count
        && (left.count == 0
          || (left.start == right.start && (left.count == 1 || left.step == right.step)))
    case (.view(let leftName, let left), .view(let rightName, let right)):
      // Views of keys and items are sets; those of values are equal only to themselves.
      guard leftName == rightName, leftName != "dict_values",
        left.elements.count == right.elements.count
      else { return false }
      return left.elements.allSatisfy { element in
        right.elements.contains { $0.equals(element) }
      }
    case (.namespace(let left), .namespace(let right)): return left === right
    case (.iterator(let left), .iterator(let right)): return left === right
    case (.macro(let left), .macro(let right)): return left === right
    case (.loop(let left), .loop(let right)): return left === right
    case (.function(let left), .function(let right)): return left == right
    default:
      if let left = asInteger, let right = other.asInteger { return left == right }
      guard let left = asDouble, let right = other.asDouble else { return false }
      return left == right
    }
  }
}
