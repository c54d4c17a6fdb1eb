/// A JSON document as a tree. Objects keep the order of their members.
package enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  /// An integer literal that fits; everything else with digits is `.double`.
  case integer(Int)
  case double(Double)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)
}

/// The members of a JSON object in file order, with look-up by name, byte for byte.
package struct JSONObject: Sendable, Equatable {
  package private(set) var members: [(name: String, value: JSONValue)] = []
  private var index: [ExactString: Int] = [:]

  package init() {}

  package init(_ members: [(String, JSONValue)]) {
    for (name, value) in members { self[name] = value }
  }

  package var count: Int { members.count }
  package var names: [String] { members.map(\.name) }

  /// The value under `name`; assigning replaces in place or appends, assigning nil is not removal but ignored.
  package subscript(name: String) -> JSONValue? {
    get { index[ExactString(name)].map { members[$0].value } }
    set {
      guard let newValue else { return }
      let key = ExactString(name)
      if let position = index[key] {
        members[position].value = newValue
      } else {
        index[key] = members.count
        members.append((name, newValue))
      }
    }
  }

  package static func == (left: JSONObject, right: JSONObject) -> Bool {
    left.count == right.count && left.members.allSatisfy { right[$0.name] == $0.value }
  }
}

extension JSONValue {
  package var stringValue: String? {
    if case .string(let text) = self { text } else { nil }
  }
  package var arrayValue: [JSONValue]? {
    if case .array(let elements) = self { elements } else { nil }
  }
  package var objectValue: JSONObject? {
    if case .object(let object) = self { object } else { nil }
  }
  package var boolValue: Bool? {
    if case .bool(let flag) = self { flag } else { nil }
  }
  package var isNull: Bool { self == .null }

  /// An integer, or a double that is one exactly.
  package var intValue: Int? {
    switch self {
    case .integer(let number): number
    case .double(let number): Int(exactly: number)
    default: nil
    }
  }

  package var doubleValue: Double? {
    switch self {
    case .integer(let number): Double(number)
    case .double(let number): number
    default: nil
    }
  }

  /// The member of an object, or nil for everything that is not an object.
  package subscript(name: String) -> JSONValue? { objectValue?[name] }

  /// One word for messages.
  package var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer, .double: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral,
  ExpressibleByDictionaryLiteral
{
  package init(stringLiteral value: String) { self = .string(value) }
  package init(integerLiteral value: Int) { self = .integer(value) }
  package init(floatLiteral value: Double) { self = .double(value) }
  package init(booleanLiteral value: Bool) { self = .bool(value) }
  package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(JSONObject(elements.map { ($0.0, $0.1) }))
  }
}
