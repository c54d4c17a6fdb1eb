internal import Support

/// Typed access to the members of a `config.json`.
struct ConfigurationReader {
  let json: JSONValue
  let path: String

  func error(_ message: String, fix: String = "") -> UserError {
    UserError(.badInput, at: path, message, fix: fix)
  }

  /// Whether a member is there and not null.
  func has(_ name: String) -> Bool { !(json[name]?.isNull ?? true) }

  /// A positive integer.
  func count(_ name: String, default fallback: Int? = nil, limit: Int = 1 << 31)
    throws(UserError) -> Int
  {
    guard let value = json[name], !value.isNull else {
      if let fallback { return fallback }
      throw error("\(name) is missing")
    }
    guard let number = value.intValue, number > 0 else {
      throw error("\(name): \(value.compactText) is no positive integer")
    }
    guard number <= limit else { throw error("\(name): \(number) is more than \(limit)") }
    return number
  }

  /// An integer of zero or more that is there.
  func natural(_ name: String) throws(UserError) -> Int {
    guard let number = json[name]?.intValue, number >= 0 else {
      throw error("\(name): \(json[name]?.compactText ?? "null") is no integer of zero or more")
    }
    return number
  }

  /// A finite number of zero or more.
  func number(_ name: String, default fallback: Double? = nil) throws(UserError) -> Double {
    guard let value = json[name], !value.isNull else {
      if let fallback { return fallback }
      throw error("\(name) is missing")
    }
    guard let number = value.doubleValue, number >= 0, number.isFinite else {
      throw error("\(name): \(value.compactText) is no number of zero or more")
    }
    return number
  }

  func flag(_ name: String, default fallback: Bool) throws(UserError) -> Bool {
    guard let value = json[name], !value.isNull else { return fallback }
    guard let flag = value.boolValue else { throw error("\(name) is neither true nor false") }
    return flag
  }
}
