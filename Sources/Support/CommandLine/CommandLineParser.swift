/// A command with its options: reads arguments and configuration files, and prints the help.
///
/// Options are `--name value` or `--name=value`; a switch is `--name`. `--config FILE` gives the
/// same names in YAML, with `-` or `_` between words; the command line wins over the file.
package struct CommandLineParser: Sendable {
  /// What the user types before the options, for example `accelerate-swift train`.
  package var command: String
  /// One sentence: what the command does.
  package var summary: String
  package var groups: [OptionGroup]
  /// What follows the options, for example `COMMAND ...`; nil for commands that take nothing more.
  package var restPlaceholder: String?

  package init(
    command: String, summary: String, groups: [OptionGroup], restPlaceholder: String? = nil
  ) {
    self.command = command
    self.summary = summary
    self.groups = groups
    self.restPlaceholder = restPlaceholder
  }

  /// What the arguments ask for.
  package enum Outcome: Sendable {
    case help
    case options(ParsedOptions)
  }

  /// The option that names a configuration file, for the last group of a command.
  package static let configurationOption = Option(
    "config", .path,
    "Reads settings from a YAML file with these names as keys; flags win over it.")

  private var options: [Option] { groups.flatMap(\.options) }

  private func option(named name: String) -> Option? { options.first { $0.name == name } }

  /// Reads the arguments that follow the command's name.
  ///
  /// - Parameter arguments: without the program's and the command's name.
  /// - Returns: `.help` when `--help` or `-h` is among the options, else the settings.
  /// - Throws: ``UserError`` naming the flag or the file and line, the value, the rule and the fix.
  package func parse(_ arguments: [String]) throws(UserError) -> Outcome {
    var given: [String: OptionValue] = [:]
    var rest: [String] = []
    var position = 0
    while position < arguments.count {
      let argument = arguments[position]
      position += 1
      if argument == "--help" || argument == "-h" { return .help }
      guard argument.hasPrefix("-"), argument != "-" else {
        guard restPlaceholder != nil else { throw unexpected(argument) }
        rest = Array(arguments[(position - 1)...])
        break
      }
      let (name, inlineValue) = Self.split(argument)
      guard argument.hasPrefix("--"), let option = option(named: name) else {
        throw unknownFlag(argument.hasPrefix("--") ? "--\(name)" : argument, name: name)
      }
      let earlier = given[name]
      guard earlier == nil || option.isRepeatable else {
        throw UserError(
          .usage, at: "--\(name)", "given twice; each flag may be given once",
          fix: "keep one of the two")
      }
      let text: String
      if let inlineValue {
        text = inlineValue
      } else if case .toggle = option.kind {
        text = "true"
      } else {
        text = try takeValue(of: option, arguments, &position)
      }
      do throws(OptionValueError) {
        let value = try option.value(fromText: text)
        given[name] = earlier.map { $0.joined(with: value) } ?? value
      } catch {
        throw UserError(.usage, at: "--\(name)", error.message, fix: error.fix)
      }
    }
    return .options(try resolve(given, rest: rest))
  }

  /// Reads the arguments, or prints the help when they ask for it.
  ///
  /// - Parameter arguments: without the program's and the command's name.
  /// - Returns: the settings; nil when the help has been printed.
  /// - Throws: ``UserError``; see ``parse(_:)``.
  package func optionsOrHelp(_ arguments: [String]) throws(UserError) -> ParsedOptions? {
    switch try parse(arguments) {
    case .options(let options): return options
    case .help:
      Console.writeOutput(helpText())
      return nil
    }
  }

  private static func split(_ argument: String) -> (name: String, value: String?) {
    let body = argument.drop { $0 == "-" }
    guard let equals = body.firstIndex(of: "=") else { return (String(body), nil) }
    return (String(body[..<equals]), String(body[body.index(after: equals)...]))
  }

  private func takeValue(of option: Option, _ arguments: [String], _ position: inout Int)
    throws(UserError) -> String
  {
    guard position < arguments.count else {
      throw UserError(
        .usage, at: "--\(option.name)", "its value is missing",
        fix: "write --\(option.name) \(option.placeholder)")
    }
    let value = arguments[position]
    // A flag where a value should be is a forgotten value more often than a text with dashes.
    guard !value.hasPrefix("--") else {
      throw UserError(
        .usage, at: "--\(option.name)", "its value is missing: \"\(value.prefix(80))\" follows",
        fix: "write --\(option.name)=VALUE, also for a value that starts with --")
    }
    position += 1
    return value
  }

  private func unexpected(_ argument: String) -> UserError {
    UserError(
      .usage, at: command, "\"\(argument.prefix(80))\" is unexpected; settings start with --",
      fix: "put quotes around values that hold spaces; `\(command) --help` lists the flags")
  }

  private func unknownFlag(_ shown: String, name: String) -> UserError {
    let nearest = nearestWord(to: name.replacing("_", with: "-"), in: options.map(\.name))
    return UserError(
      .usage, at: command, "there is no flag \(shown.prefix(80))",
      fix: nearest.map { "did you mean --\($0)?" } ?? "`\(command) --help` lists the flags")
  }

  // MARK: Configuration files

  /// Joins flags, the file that `--config` names and the defaults.
  private func resolve(_ given: [String: OptionValue], rest: [String]) throws(UserError)
    -> ParsedOptions
  {
    var entries: [String: ParsedOptions.Entry] = [:]
    for option in options {
      entries[option.name] = .init(value: option.defaultValue, origin: .defaultValue)
    }
    if case .text(let path) = given[Self.configurationOption.name] {
      for (name, entry) in try readConfiguration(path) { entries[name] = entry }
    }
    for (name, value) in given { entries[name] = .init(value: value, origin: .commandLine) }
    return ParsedOptions(entries: entries, rest: rest)
  }

  private func readConfiguration(_ path: String) throws(UserError) -> [String: ParsedOptions.Entry]
  {
    let document = try YAMLDocument.read(path)
    if document.root.isNull { return [:] }
    guard let object = document.root.objectValue else {
      throw UserError(
        .badInput, at: path,
        "\(document.root.kindName), but lines of the form `name: value` are needed")
    }
    var entries: [String: ParsedOptions.Entry] = [:]
    for (key, value) in object.members {
      let line = document.lines[key] ?? 1
      let name = key.replacing("_", with: "-")
      guard let option = option(named: name), name != Self.configurationOption.name else {
        let known = options.map(\.name).filter { $0 != Self.configurationOption.name }
        let nearest = nearestWord(to: name, in: known)
        throw UserError(
          .badInput, at: "\(path):\(line)", "there is no setting \"\(key.prefix(80))\"",
          fix: nearest.map { "did you mean \($0)?" } ?? "`\(command) --help` lists the settings")
      }
      guard entries[name] == nil else {
        throw UserError(
          .badInput, at: "\(path):\(line)", "\(name) is set twice, once with - and once with _",
          fix: "delete one of the two lines")
      }
      do throws(OptionValueError) {
        // null stands for "not given": run.yaml writes it for settings without a value.
        guard let read = try option.value(fromFile: value) else { continue }
        entries[name] = .init(value: read, origin: .file(path: path, line: line))
      } catch {
        throw UserError(.badInput, at: "\(path):\(line): \(name)", error.message, fix: error.fix)
      }
    }
    return entries
  }
}
