/// One setting of a command: a flag on the command line, a key in its configuration file.
package struct Option: Sendable {
  /// What a value may be.
  package enum Kind: Sendable {
    /// Any text; the placeholder stands for it in the help.
    case text(placeholder: String)
    /// A file or directory, relative to where the program runs.
    case path
    /// Paths, one each time the flag is given; in a file one, or a sequence.
    case paths(placeholder: String)
    case integer(ClosedRange<Int>)
    case number(NumberRule)
    /// A flag without a value: there or not there.
    case toggle
    /// One of a few words.
    case choice([String])
    /// Words separated by commas; in a file also a YAML sequence.
    case list(placeholder: String)
  }

  /// Without the dashes, in lower case with `-` between words.
  package var name: String
  package var kind: Kind
  /// The value when the user gives none; nil when there is none.
  package var defaultValue: OptionValue?
  /// How the help tells the default; empty when there is nothing to tell.
  package var defaultText: String
  /// One sentence.
  package var help: String

  /// Declares a setting.
  ///
  /// - Parameters:
  ///   - name: without dashes.
  ///   - kind: what a value may be.
  ///   - defaultValue: the value when none is given.
  ///   - defaultText: how the help tells the default; by itself the default value.
  ///   - help: one sentence.
  package init(
    _ name: String, _ kind: Kind, default defaultValue: OptionValue? = nil,
    defaultText: String? = nil, _ help: String
  ) {
    self.name = name
    self.kind = kind
    if case .toggle = kind {
      self.defaultValue = .flag(false)
      self.defaultText = defaultText ?? ""
    } else {
      self.defaultValue = defaultValue
      self.defaultText = defaultText ?? defaultValue?.text ?? ""
    }
    self.help = help
  }

  /// What stands for the value in the help; empty for a toggle.
  var placeholder: String {
    switch kind {
    case .text(let placeholder), .list(let placeholder), .paths(let placeholder): placeholder
    case .path: "PATH"
    case .integer: "N"
    case .number: "X"
    case .toggle: ""
    case .choice(let words): words.joined(separator: "|")
    }
  }
}

extension Option {
  /// Whether the flag may be given more than once.
  var isRepeatable: Bool { if case .paths = kind { true } else { false } }
}

/// Options that the help shows under one heading.
package struct OptionGroup: Sendable {
  package var title: String
  package var options: [Option]

  package init(_ title: String, _ options: [Option]) {
    self.title = title
    self.options = options
  }
}

/// The value of an option, of the case its kind asks for.
package enum OptionValue: Sendable, Equatable {
  case text(String)
  case integer(Int)
  case number(Double)
  case flag(Bool)
  case list([String])

  /// The words of both lists, this one's first.
  func joined(with other: OptionValue) -> OptionValue {
    guard case (.list(let words), .list(let more)) = (self, other) else { return other }
    return .list(words + more)
  }

  /// As a user would write it.
  package var text: String {
    switch self {
    case .text(let text): text
    case .integer(let number): "\(number)"
    case .number(let number): Self.text(of: number)
    case .flag(let isOn): isOn ? "true" : "false"
    case .list(let words): words.joined(separator: ",")
    }
  }

  /// The shortest usual text of a number: `1` for 1.0, `2e-4` for 0.0002.
  static func text(of number: Double) -> String {
    let exact = "\(number)"
    if exact.hasSuffix(".0") { return String(exact.dropLast(2)) }
    // Small round values read better as powers: 0.0002 is written 2e-4.
    guard number != 0, abs(number) < 0.001, exact.hasPrefix("0.000") else {
      return exact.replacing("e-0", with: "e-")
    }
    let digits = exact.drop { $0 == "0" || $0 == "." }
    let zeros = exact.dropFirst(2).prefix { $0 == "0" }.count
    let fraction = digits.dropFirst()
    return "\(digits.prefix(1))\(fraction.isEmpty ? "" : ".\(fraction)")e-\(zeros + 1)"
  }
}

/// The values a number may take, with the sentence that says so.
package struct NumberRule: Sendable {
  package var lowerBound: Double
  package var includesLower: Bool
  package var upperBound: Double
  /// Follows "must be".
  package var text: String

  package static let positive = NumberRule(
    lowerBound: 0, includesLower: false, upperBound: .infinity, text: "greater than 0")
  package static let nonNegative = NumberRule(
    lowerBound: 0, includesLower: true, upperBound: .infinity, text: "0 or greater")
  /// Decay rates and probabilities.
  package static let belowOne = NumberRule(
    lowerBound: 0, includesLower: true, upperBound: 1, text: "at least 0 and less than 1")

  /// Whether `number` keeps the rule; the upper bound is excluded.
  package func allows(_ number: Double) -> Bool {
    number < upperBound && (includesLower ? number >= lowerBound : number > lowerBound)
  }
}
