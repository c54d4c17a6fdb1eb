internal import Glibc

/// What stands after `|`.
enum JinjaFilter {
  static let names: Set<String> = Set(textFilters + listFilters + otherFilters)

  static let textFilters = [
    "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower", "replace",
    "safe", "string", "title", "trim", "truncate", "upper", "urlencode", "wordcount",
  ]
  static let listFilters = [
    "batch", "dictsort", "first", "groupby", "items", "join", "last", "list", "map", "max", "min",
    "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique",
  ]
  private static let otherFilters = [
    "abs", "attr", "count", "d", "default", "float", "int", "length", "round", "tojson",
  ]
  private static let textNames = Set(textFilters)
  private static let listNames = Set(listFilters)

  /// Applies a filter.
  static func apply(
    _ name: String, _ value: JinjaValue, _ call: JinjaCall, _ renderer: JinjaRenderer
  ) throws -> JinjaValue {
    try renderer.chargeTexts(call)
    if textNames.contains(name) {
      return try JinjaTextFilters(renderer).apply(name, value, call)
    }
    if listNames.contains(name) {
      return try JinjaListFilters(renderer).apply(name, value, call)
    }
    switch name {
    case "default", "d":
      let values = try call.bind(name, ["default_value", "boolean"])
      let replaces = value.isUndefined || (values[1]?.isTrue == true && !value.isTrue)
      return replaces ? values[0] ?? .text("") : value
    case "length", "count":
      _ = try call.bind(name, [])
      return .integer(try length(value))
    case "attr":
      let attribute = try call.bind(name, ["name"], required: 1)[0] ?? .none
      let text = try renderer.text(attribute).string
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      return try renderer.ownAttribute(value, text)
        ?? .undefined(
          JinjaUndefined(
            message: "'\(value.typeName) object' has no attribute \(JinjaValue.quoted(text))"))
    case "tojson": return try json(value, call, renderer)
    case "abs":
      _ = try call.bind(name, [])
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      if case .float(let number) = value { return .float(number.magnitude) }
      guard let number = value.asInteger else {
        throw JinjaError("bad operand type for abs(): '\(value.typeName)'")
      }
      return number < 0
        ? .integer(try JinjaOperator.exact(0.subtractingReportingOverflow(number)))
        : .integer(number)
    case "int":
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      try renderer.charge(value.weight)
      return try integer(value, call)
    case "float":
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      try renderer.charge(value.weight)
      let fallback = try call.bind(name, ["default"])[0] ?? .float(0)
      return float(value).map { .float($0) } ?? fallback
    default: return try rounded(value, call, renderer)
    }
  }

  static func length(_ value: JinjaValue) throws -> Int {
    switch value {
    case .undefined: return 0
    case .text(let text): return text.count
    case .list(let list), .tuple(let list), .view(_, let list), .group(let list):
      return list.elements.count
    case .dictionary(let dictionary): return dictionary.entries.count
    case .range(let range): return range.count
    case .loop(let loop): return loop.elements.count
    default: throw JinjaError("object of type '\(value.typeName)' has no len()")
    }
  }

  private static func json(_ value: JinjaValue, _ call: JinjaCall, _ renderer: JinjaRenderer)
    throws -> JinjaValue
  {
    let values = try call.bind(
      "tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])
    var json = JinjaJSON()
    json.escapesNonASCII = values[0]?.isTrue ?? false
    json.sortsKeys = values[3]?.isTrue ?? false
    switch values[1] {
    case nil, .some(.none): break
    case .text(let text): json.indent = text.string
    case .some(let indent):
      guard let width = indent.asInteger else {
        throw JinjaError("tojson's indent is neither a number nor a text")
      }
      try renderer.checkSize(max(0, width))
      json.indent = String(repeating: " ", count: max(0, width))
    }
    if json.indent != nil { json.itemSeparator = "," }
    if let separators = values[2], !separators.isNone {
      let pair = try renderer.iterate(separators)
      guard pair.count == 2, case .text(let item) = pair[0], case .text(let key) = pair[1] else {
        throw JinjaError("tojson's separators are no pair of texts")
      }
      try renderer.charge((item.bytes.count + key.bytes.count) / 16)
      json.itemSeparator = item.string
      json.keySeparator = key.string
    }
    try renderer.charge(json.sortsKeys ? 8 * value.weight : value.weight / 4)
    return .text(try renderer.checked(json.write(value)))
  }

  /// A number from a text as Python's `int` and `float` read it: white space around it and single
  /// underscores inside are allowed.
  private static func numeral(_ text: JinjaText) -> String? {
    let bytes = text.stripped(left: true, right: true).bytes
    func isDigit(_ index: Int) -> Bool {
      bytes.indices.contains(index) && bytes[index] >= 0x30 && bytes[index] <= 0x39
    }
    var result: [UInt8] = []
    for (index, byte) in bytes.enumerated() {
      if byte == UInt8(ascii: "_") {
        guard isDigit(index - 1), isDigit(index + 1) else { return nil }
      } else {
        result.append(byte)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func float(_ value: JinjaValue) -> Double? {
    guard case .text(let text) = value else { return value.asDouble }
    guard let numeral = numeral(text), !numeral.isEmpty else { return nil }
    switch numeral.lowercased() {
    case "inf", "+inf", "infinity", "+infinity": return .infinity
    case "-inf", "-infinity": return -.infinity
    case "nan", "+nan", "-nan": return .nan
    default:
      // Swift reads hexadecimal digits, too; Python does not.
      guard numeral.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }) else { return nil }
      let body = numeral.hasPrefix("+") ? String(numeral.dropFirst()) : numeral
      // Swift wants digits on both sides of the point.
      let parts = body.split(separator: ".", omittingEmptySubsequences: false)
      if parts.count == 2 {
        let head = parts[0] == "" || parts[0] == "-" ? parts[0] + "0" : parts[0]
        let tail = parts[1].first?.isNumber == true ? parts[1] : "0" + parts[1]
        let hasDigit = body.utf8.contains { $0 >= 0x30 && $0 <= 0x39 }
        guard hasDigit, body != ".", !body.hasPrefix(".e"), !body.hasPrefix(".E") else {
          return nil
        }
        return Double(head + "." + tail)
      }
      return Double(body)
    }
  }

  private static func integer(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind("int", ["default", "base"])
    let fallback = values[0] ?? .integer(0)
    let base = values[1]?.asInteger ?? 10
    guard base == 10 || (2...36).contains(base) else {
      throw JinjaError("int's base must be from 2 to 36")
    }
    if let number = value.asInteger { return .integer(number) }
    if case .text(let text) = value, let numeral = numeral(text) {
      let isNegative = numeral.hasPrefix("-")
      var digits = isNegative || numeral.hasPrefix("+") ? String(numeral.dropFirst()) : numeral
      let prefixes = [16: "0x", 8: "0o", 2: "0b"]
      if let prefix = prefixes[base], digits.lowercased().hasPrefix(prefix) {
        digits = String(digits.dropFirst(2))
      }
      if !digits.isEmpty, digits.utf8.first != UInt8(ascii: "-"),
        digits.utf8.first != UInt8(ascii: "+"),
        let number = Int((isNegative ? "-" : "") + digits, radix: base)
      {
        return .integer(number)
      }
      if base == 10, !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
        throw JinjaError(.limit, "an integer of more than 64 bits")
      }
    }
    guard let number = float(value), number.isFinite else { return fallback }
    guard let result = Int(exactly: number.rounded(.towardZero)) else {
      throw JinjaError(.limit, "an integer of more than 64 bits")
    }
    return .integer(result)
  }

  private static func rounded(_ value: JinjaValue, _ call: JinjaCall, _ renderer: JinjaRenderer)
    throws -> JinjaValue
  {
    let values = try call.bind("round", ["precision", "method"])
    let method = try values[1].map { try renderer.text($0).string } ?? "common"
    guard ["common", "ceil", "floor"].contains(method) else {
      throw JinjaError("round's method must be common, ceil or floor")
    }
    if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
    guard let number = value.asDouble, let precision = (values[0] ?? .integer(0)).asInteger,
      (-20...300).contains(precision)
    else { throw JinjaError("round needs a number and a small precision") }
    if method == "common" {
      if let whole = value.asInteger {
        guard precision < 0 else { return .integer(whole) }
        throw JinjaError("round of an integer to a negative precision is not supported")
      }
      guard number.isFinite, precision >= 0 else {
        guard precision < 0, number.isFinite else { return .float(number) }
        throw JinjaError("round to a negative precision is not supported")
      }
      // Python rounds the exact value, halves to even.
      let text = try JinjaFormat.fixed(number.magnitude, digits: precision, renderer)
      return .float((number.sign == .minus ? -1 : 1) * (Double(text) ?? number))
    }
    let scale = pow(10, Double(precision))
    let scaled = number * scale
    guard scaled.isFinite else { throw JinjaError("round of a number that is not finite") }
    let whole = scaled.rounded(method == "ceil" ? .up : .down)
    return .float((whole == 0 ? 0 : whole) / scale)
  }
}
