/// Why a value does not fit its option; the caller knows where it stands.
struct OptionValueError: Error {
  var message: String
  var fix = ""
}

extension Option {
  /// Reads a value given as text, on the command line or as a scalar of a file.
  func value(fromText text: String) throws(OptionValueError) -> OptionValue {
    let shown = "\"\(text.prefix(80))\""
    switch kind {
    case .text: return .text(text)
    case .path, .paths:
      guard !text.isEmpty else {
        throw OptionValueError(message: "an empty value, but a path is needed")
      }
      guard !text.utf8.contains(0) else {
        throw OptionValueError(message: "a path cannot hold a zero byte")
      }
      if isRepeatable { return .list([text]) }
      return .text(text)
    case .integer(let range):
      guard let number = Int(text) else {
        throw OptionValueError(message: "\(shown) is not an integer; \(Self.rule(range))")
      }
      return try check(number, range)
    case .number(let rule):
      guard let number = Double(text), number.isFinite else {
        throw OptionValueError(message: "\(shown) is not a number; it must be \(rule.text)")
      }
      return try check(number, rule)
    case .toggle:
      switch text {
      case "true": return .flag(true)
      case "false": return .flag(false)
      default:
        throw OptionValueError(
          message: "\(shown), but a switch takes no value other than true or false",
          fix: "write --\(name) alone")
      }
    case .choice(let words):
      guard words.contains(text) else {
        let nearest = nearestWord(to: text, in: words)
        throw OptionValueError(
          message: "\(shown) is not one of \(words.joined(separator: ", "))",
          fix: nearest.map { "did you mean \($0)?" } ?? "")
      }
      return .text(text)
    case .list:
      let words = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard !words.contains("") else {
        throw OptionValueError(
          message: "\(shown) has an empty entry; entries are separated by one comma each")
      }
      return .list(words)
    }
  }

  /// Reads a value of a configuration file; nil for `null`, which means the default.
  func value(fromFile value: JSONValue) throws(OptionValueError) -> OptionValue? {
    switch (value, kind) {
    case (.null, _): return nil
    case (.bool(let isOn), .toggle): return .flag(isOn)
    case (.integer(let number), .integer(let range)): return try check(number, range)
    case (.integer(let number), .number(let rule)): return try check(Double(number), rule)
    case (.double(let number), .number(let rule)): return try check(number, rule)
    case (.double(let number), .integer(let range)):
      guard let integer = Int(exactly: number) else {
        throw OptionValueError(message: "\(number) is not an integer; \(Self.rule(range))")
      }
      return try check(integer, range)
    // `quant: no` and `device: cpu` are text already; a bare 1 or true may be text that was meant.
    case (.string(let text), .text), (.string(let text), .path), (.string(let text), .choice),
      (.string(let text), .list), (.string(let text), .paths):
      return try self.value(fromText: text)
    case (.integer(let number), .text), (.integer(let number), .path):
      return .text("\(number)")
    case (.array(let elements), .paths):
      var values: [OptionValue] = []
      for element in elements {
        guard let text = element.stringValue else {
          throw OptionValueError(message: "\(element.kindName) in a list of paths")
        }
        values.append(try self.value(fromText: text))
      }
      guard let first = values.first else {
        throw OptionValueError(message: "an empty list, but a path is needed")
      }
      return values.dropFirst().reduce(first) { $0.joined(with: $1) }
    case (.array(let elements), .list):
      var words: [String] = []
      for element in elements {
        guard let word = element.stringValue, !word.isEmpty else {
          throw OptionValueError(message: "\(element.kindName) in a list of words")
        }
        words.append(word)
      }
      return .list(words)
    default:
      throw OptionValueError(message: "\(value.kindName), but \(expectation) is needed")
    }
  }

  private var expectation: String {
    switch kind {
    case .text: "a text"
    case .path: "a path"
    case .paths: "a path or a list of paths"
    case .integer: "an integer"
    case .number: "a number"
    case .toggle: "true or false"
    case .choice(let words): "one of \(words.joined(separator: ", "))"
    case .list: "a list of words"
    }
  }

  private func check(_ number: Int, _ range: ClosedRange<Int>) throws(OptionValueError)
    -> OptionValue
  {
    guard range.contains(number) else {
      throw OptionValueError(message: "\(number) is out of range; \(Self.rule(range))")
    }
    return .integer(number)
  }

  private func check(_ number: Double, _ rule: NumberRule) throws(OptionValueError) -> OptionValue {
    guard rule.allows(number) else {
      throw OptionValueError(
        message: "\(OptionValue.text(of: number)) is out of range; it must be \(rule.text)")
    }
    return .number(number)
  }

  private static func rule(_ range: ClosedRange<Int>) -> String {
    range.upperBound == .max
      ? "it must be \(range.lowerBound) or greater"
      : "it must be from \(range.lowerBound) to \(range.upperBound)"
  }
}
