/// Filters that make texts.
struct JinjaTextFilters {
  private let renderer: JinjaRenderer

  init(_ renderer: JinjaRenderer) { self.renderer = renderer }

  func apply(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    // Methods of texts pay by themselves.
    func method(_ method: String, _ positional: [JinjaValue] = []) throws -> JinjaValue {
      try JinjaTextMethods(renderer.text(value), renderer)
        .call(method, JinjaCall(positional: positional))
    }
    switch name {
    case "upper", "lower", "capitalize":
      _ = try call.bind(name, [])
      return try method(name)
    case "trim":
      let characters = try call.bind(name, ["chars"])[0]
      return try method("strip", characters.map { [$0] } ?? [])
    case "center":
      return try method("center", [call.bind(name, ["width"])[0] ?? .integer(80)])
    case "indent": return .text(try indent(value, call))
    case "truncate": return .text(try truncate(value, call))
    case "urlencode":
      _ = try call.bind(name, [])
      return .text(try urlEncode(value))
    default: return try applyToWhole(name, renderer.read(value), call)
    }
  }

  /// Filters that read the text of any value from one end to the other.
  private func applyToWhole(_ name: String, _ text: JinjaText, _ call: JinjaCall) throws
    -> JinjaValue
  {
    switch name {
    case "title":
      _ = try call.bind(name, [])
      return .text(try renderer.checked(title(text)))
    case "string":
      _ = try call.bind(name, [])
      return .text(text)
    case "safe":
      _ = try call.bind(name, [])
      return .text(JinjaText(text.bytes, isSafe: true))
    case "escape", "e":
      _ = try call.bind(name, [])
      return .text(try renderer.checked(text.escaped))
    case "forceescape":
      _ = try call.bind(name, [])
      return .text(try renderer.checked(JinjaText(text.bytes).escaped))
    case "replace":
      let values = try call.bind(name, ["old", "new", "count"], required: 2)
      let count: Int
      switch values[2] {
      case nil, .some(.none): count = -1
      case .some(let value):
        guard let number = value.asInteger else {
          throw JinjaError("replace's count is no integer")
        }
        count = number
      }
      return .text(
        try JinjaTextMethods.replace(
          text, renderer.text(values[0] ?? .none), renderer.text(values[1] ?? .none), count,
          renderer))
    case "format":
      guard call.named.isEmpty || call.positional.isEmpty else {
        throw JinjaError("format takes positional or named arguments, not both")
      }
      var arguments = JinjaValue.tuple(try renderer.list(call.positional))
      if !call.named.isEmpty {
        var dictionary = JinjaDictionary()
        for (name, value) in call.named { try dictionary.set(.text(name), value) }
        arguments = .dictionary(dictionary)
      }
      return .text(try JinjaFormat.percent(text, arguments, renderer))
    default:
      _ = try call.bind(name, [])
      return .integer(wordCount(text))
    }
  }

  /// The first letter of each word in upper case, the others in lower case.
  private func title(_ text: JinjaText) -> JinjaText {
    var result = ""
    var isStart = true
    for scalar in text.scalars {
      result += isStart ? scalar.properties.uppercaseMapping : scalar.properties.lowercaseMapping
      isStart =
        JinjaText.isSpace(scalar) || ["-", "(", "{", "[", "<"].contains(scalar)
    }
    return JinjaText(result)
  }

  private func indent(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaText {
    let values = try call.bind("indent", ["width", "first", "blank"])
    if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
    guard case .text(let text) = value else {
      throw JinjaError("indent needs a text, not \(value.typeName)")
    }
    var indentation: [UInt8]
    if case .text(let given)? = values[0] {
      indentation = given.bytes
    } else {
      guard let width = (values[0] ?? .integer(4)).asInteger else {
        throw JinjaError("indent's width is no number and no text")
      }
      try renderer.checkSize(max(0, width))
      indentation = [UInt8](repeating: UInt8(ascii: " "), count: max(0, width))
    }
    let indentsBlank = values[2]?.isTrue ?? false
    var result = values[1]?.isTrue ?? false ? indentation : []
    for (index, line) in JinjaTextMethods.lines(text.bytes + [0x0A]).enumerated() {
      if index > 0 {
        result.append(0x0A)
        if indentsBlank || !line.isEmpty { result += indentation }
      }
      result += line
      try JinjaLimits.checkText(result.count)
    }
    return try renderer.checked(JinjaText(result, isSafe: text.isSafe))
  }

  private func truncate(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaText {
    let values = try call.bind("truncate", ["length", "killwords", "end", "leeway"])
    guard case .text(let text) = value, let length = (values[0] ?? .integer(255)).asInteger,
      let leeway = (values[3] ?? .integer(5)).asInteger
    else { throw JinjaError("truncate needs a text and integers") }
    try renderer.charge(text.bytes.count / 16)
    let end = try values[2].map { try renderer.text($0) } ?? "..."
    guard length >= end.count, leeway >= 0 else {
      throw JinjaError("truncate's length is shorter than its end")
    }
    guard text.count - leeway > length else { return text }
    let head = text.slice(0..<length - end.count)
    if values[1]?.isTrue ?? false { return JinjaText(head.bytes + end.bytes) }
    let cut = head.lastIndex(of: " ") ?? head.bytes.count
    return JinjaText(Array(head.bytes[..<cut]) + end.bytes)
  }

  private func wordCount(_ text: JinjaText) -> Int {
    var count = 0
    var isInside = false
    for scalar in text.scalars {
      let isWord =
        scalar == "_" || scalar.properties.isAlphabetic || scalar.properties.numericType != nil
      if isWord && !isInside { count += 1 }
      isInside = isWord
    }
    return count
  }

  private func urlEncode(_ value: JinjaValue) throws -> JinjaText {
    func quoted(_ value: JinjaValue, keepsSlash: Bool) throws -> String {
      var result = ""
      for byte in try renderer.read(value).bytes {
        let scalar = Unicode.Scalar(byte)
        let isPlain =
          byte < 0x80
          && (scalar.properties.isAlphabetic || (byte >= 0x30 && byte <= 0x39)
            || ["-", "_", ".", "~"].contains(scalar) || (keepsSlash && scalar == "/"))
        result +=
          isPlain ? String(scalar) : "%" + JinjaValue.hexadecimal(UInt32(byte), 2).uppercased()
      }
      return result
    }
    switch value {
    case .dictionary(let dictionary):
      try renderer.charge(dictionary.weight)
      var result = ""
      for entry in dictionary.entries {
        if !result.isEmpty { result += "&" }
        result += try quoted(entry.key, keepsSlash: false) + "="
        result += try quoted(entry.value, keepsSlash: false)
        try JinjaLimits.checkText(result.utf8.count)
      }
      return try renderer.checked(JinjaText(result))
    case .list, .tuple: throw JinjaError("urlencode of a list is not supported")
    default: return try renderer.checked(JinjaText(quoted(value, keepsSlash: true)))
    }
  }
}
