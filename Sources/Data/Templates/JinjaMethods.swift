/// The methods of Python's types that templates may call.
enum JinjaMethods {
  /// By type: those that read, and those that would change the value, which the sandbox refuses.
  static let known: [String: (reading: Set<String>, mutating: Set<String>)] = [
    "str": (text, []), "Markup": (text, []),
    "dict": (
      ["get", "items", "keys", "values", "copy"],
      ["clear", "pop", "popitem", "setdefault", "update"]
    ),
    "list": (
      ["count", "index", "copy"],
      ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"]
    ),
    "tuple": (["count", "index"], []),
    "range": (["count", "index"], []),
  ]

  private static let text: Set<String> = [
    "capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "format",
    "index", "isalnum", "isalpha", "isascii", "isdigit", "islower", "isnumeric", "isspace",
    "istitle", "isupper", "join", "ljust", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip",
    "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill",
  ]

  static func call(_ method: JinjaMethod, _ call: JinjaCall, _ renderer: JinjaRenderer) throws
    -> JinjaValue
  {
    switch method.receiver {
    case .text(let text): return try JinjaTextMethods(text, renderer).call(method.name, call)
    case .dictionary(let dictionary): return try self.call(dictionary, method.name, call, renderer)
    case .list(let list), .tuple(let list):
      return try self.call(
        list, isList: method.receiver.typeName == "list", method.name, call, renderer)
    case .range(let range):
      return try self.call(
        renderer.list(range.values), isList: false, method.name, call, renderer)
    case .loop(let loop):
      guard method.name == "cycle" else {
        let values = try renderer.list(call.positional)
        let isSame = try loop.lastChecked.map {
          try renderer.areEqual(.tuple($0), .tuple(values))
        }
        loop.lastChecked = values
        return .bool(isSame != true)
      }
      guard !call.positional.isEmpty else { throw JinjaError("no items for cycling given") }
      return call.positional[loop.index % call.positional.count]
    default:
      throw JinjaError("'\(method.receiver.typeName)' object has no method '\(method.name)'")
    }
  }

  private static func call(
    _ dictionary: JinjaDictionary, _ name: String, _ call: JinjaCall, _ renderer: JinjaRenderer
  ) throws -> JinjaValue {
    switch name {
    case "get":
      guard call.named.isEmpty else { throw JinjaError("get() takes no keyword arguments") }
      let values = try call.bind(name, ["key", "default"], required: 1)
      let key = values[0] ?? .none
      try renderer.charge(key.weight / 4)
      guard JinjaKey(key) != nil || key.isUndefined else {
        throw JinjaError("unhashable type: '\(key.typeName)'")
      }
      return dictionary[key] ?? values[1] ?? .none
    case "items":
      _ = try call.bind(name, [])
      return .view(name: "dict_items", try items(dictionary, renderer))
    case "keys":
      _ = try call.bind(name, [])
      return .view(name: "dict_keys", try renderer.list(dictionary.entries.map(\.key)))
    case "values":
      _ = try call.bind(name, [])
      return .view(name: "dict_values", try renderer.list(dictionary.entries.map(\.value)))
    default:
      _ = try call.bind(name, [])
      return .dictionary(dictionary)
    }
  }

  /// Pairs of key and value.
  static func items(_ dictionary: JinjaDictionary, _ renderer: JinjaRenderer) throws -> JinjaList {
    try renderer.list(dictionary.entries.map { .tuple(try JinjaList([$0.key, $0.value])) })
  }

  private static func call(
    _ list: JinjaList, isList: Bool, _ name: String, _ call: JinjaCall, _ renderer: JinjaRenderer
  ) throws -> JinjaValue {
    try renderer.charge(list.elements.count)
    switch name {
    case "copy":
      _ = try call.bind(name, [])
      return isList ? .list(list) : .tuple(list)
    case "count":
      let value = try call.bind(name, ["value"], required: 1)[0] ?? .none
      return .integer(try list.elements.count { try renderer.areEqual($0, value) })
    default:
      let value = try call.bind(name, ["value"], required: 1)[0] ?? .none
      guard let index = try list.elements.firstIndex(where: { try renderer.areEqual($0, value) })
      else {
        throw JinjaError("the value is not in the \(isList ? "list" : "tuple")")
      }
      return .integer(index)
    }
  }
}
