/// Where the value of an option came from.
package enum OptionOrigin: Sendable, Equatable {
  case commandLine
  case file(path: String, line: Int)
  case defaultValue
}

/// The settings of a command, each with where it came from.
///
/// Asking for a name that the command does not declare, or with the wrong type, is a programmer's
/// mistake and stops the program.
package struct ParsedOptions: Sendable {
  struct Entry: Sendable {
    var value: OptionValue?
    var origin: OptionOrigin
  }
  private var entries: [String: Entry]
  /// What follows the options, for commands that take more: from the first word that is no flag.
  package let rest: [String]

  init(entries: [String: Entry], rest: [String]) {
    self.entries = entries
    self.rest = rest
  }

  private func entry(_ name: String) -> Entry {
    guard let entry = entries[name] else { preconditionFailure("no option --\(name)") }
    return entry
  }

  /// The same settings with other defaults for those the user did not give.
  ///
  /// - Parameter defaults: names the command declares or not; the latter are passed over.
  /// - Returns: the settings.
  package func replacingDefaults(_ defaults: [(name: String, value: OptionValue)])
    -> ParsedOptions
  {
    var result = self
    for (name, value) in defaults {
      guard let entry = entries[name], entry.origin == .defaultValue else { continue }
      result.entries[name] = Entry(value: value, origin: .defaultValue)
    }
    return result
  }

  package func origin(of name: String) -> OptionOrigin { entry(name).origin }

  /// Whether the user gave a value, as a flag or in the file.
  package func isGiven(_ name: String) -> Bool { entry(name).origin != .defaultValue }

  package func textIfAny(_ name: String) -> String? {
    switch entry(name).value {
    case .text(let text): text
    case nil: nil
    default: preconditionFailure("--\(name) is no text")
    }
  }

  package func integerIfAny(_ name: String) -> Int? {
    switch entry(name).value {
    case .integer(let number): number
    case nil: nil
    default: preconditionFailure("--\(name) is no integer")
    }
  }

  package func numberIfAny(_ name: String) -> Double? {
    switch entry(name).value {
    case .number(let number): number
    case nil: nil
    default: preconditionFailure("--\(name) is no number")
    }
  }

  package func text(_ name: String) -> String { required(textIfAny(name), name) }
  package func integer(_ name: String) -> Int { required(integerIfAny(name), name) }
  package func number(_ name: String) -> Double { required(numberIfAny(name), name) }

  package func flag(_ name: String) -> Bool {
    guard case .flag(let isOn) = entry(name).value else {
      preconditionFailure("--\(name) is no toggle")
    }
    return isOn
  }

  package func list(_ name: String) -> [String] {
    guard case .list(let words) = entry(name).value else {
      preconditionFailure("--\(name) is no list")
    }
    return words
  }

  /// The words of a list that may not be given; none then.
  package func listIfAny(_ name: String) -> [String] {
    entry(name).value == nil ? [] : list(name)
  }

  /// The case of an enumeration whose raw values are the words of a choice.
  package func choice<Choice: RawRepresentable>(_ name: String, as type: Choice.Type) -> Choice
  where Choice.RawValue == String {
    required(Choice(rawValue: text(name)), name)
  }

  private func required<Value>(_ value: Value?, _ name: String) -> Value {
    guard let value else { preconditionFailure("--\(name) has neither value nor default") }
    return value
  }

  /// Where the value of an option stands, for messages: `--lr`, or `run.yaml:3: lr`.
  package func location(of name: String) -> String {
    switch entry(name).origin {
    case .commandLine, .defaultValue: "--\(name)"
    case .file(let path, let line): "\(path):\(line): \(name)"
    }
  }

  /// An error about the value of an option.
  package func error(_ name: String, _ message: String, fix: String = "") -> UserError {
    UserError(.usage, at: location(of: name), message, fix: fix)
  }
}
