import Support
import Trainer

/// The commands of the program.
enum Command: String, CaseIterable {
  case train, data, plan, evaluate, generate, tokenize, test, env, launch

  /// One line for `--help`.
  private var summary: String {
    switch self {
    case .train: "fine-tunes LoRA adapters over a frozen base model"
    case .data: "rows, lengths and trained tokens of data before a run"
    case .plan: "memory and traffic of a run before it starts"
    case .evaluate: "loss, perplexity and exact match on held-out data"
    case .generate: "completes a prompt with the base and the adapter"
    case .tokenize: "token ids of texts, and texts of token ids"
    case .test: "proves the arithmetic on this machine or on all ranks"
    case .env: "the machine and the libraries that are found"
    case .launch: "starts a command on several processes or hosts"
    }
  }

  /// Takes the arguments that follow the command's name, to the exit code.
  private func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    switch self {
    case .train: try TrainCommand.run(arguments, environment: environment)
    case .data: try DataCommand.run(arguments, environment: environment)
    case .plan: try PlanCommand.run(arguments, environment: environment)
    case .evaluate: try EvaluateCommand.run(arguments, environment: environment)
    case .generate: try GenerateCommand.run(arguments, environment: environment)
    case .tokenize: try TokenizeCommand.run(arguments, environment: environment)
    case .test: try TestCommand.run(arguments, environment: environment)
    case .env: try EnvironmentCommand.run(arguments, environment: environment)
    case .launch: LaunchCommand.run(arguments: arguments)
    }
  }

  /// Reads and checks a command before `launch` starts it on many ranks, so that a mistake is told
  /// once.
  ///
  /// - Parameter arguments: a command and its arguments.
  /// - Returns: whether there is something to run; not so when the help has been printed.
  /// - Throws: what the command would throw on every rank.
  static func check(_ arguments: [String]) throws(UserError) -> Bool {
    guard let name = arguments.first, !HiddenCommands.contains(name) else { return true }
    let rest = Array(arguments.dropFirst())
    switch try named(name) {
    case .train: return try TrainCommand.configuration(rest) != nil
    case .evaluate: return try EvaluateCommand.configuration(rest) != nil
    case .generate: return try GenerateCommand.configuration(rest) != nil
    case .test: return try TestCommand.configuration(rest) != nil
    case .plan:
      throw UserError(
        .usage, at: "launch", "cannot start plan, which is no work for several ranks",
        fix: "leave launch out and say `plan --ranks N`")
    case .data, .tokenize:
      throw UserError(
        .usage, at: "launch", "cannot start \(name), which is no work for several ranks",
        fix: "leave launch out")
    case .env:
      throw UserError(
        .usage, at: "launch", "cannot start env, which looks at one host",
        fix: "leave launch out")
    case .launch:
      throw UserError(
        .usage, at: "launch", "cannot start another launch", fix: "write launch once")
    }
  }

  private static func named(_ name: String) throws(UserError) -> Command {
    if let command = Command(rawValue: name) { return command }
    let nearest = nearestWord(to: name, in: allCases.map(\.rawValue))
    throw UserError(
      .usage, "there is no command \"\(name.prefix(80))\"",
      fix: nearest.map { "did you mean `accelerate-swift \($0)`?" }
        ?? "`accelerate-swift --help` lists the commands")
  }

  /// Runs what the arguments ask for.
  ///
  /// - Parameters:
  ///   - arguments: without the program's name.
  ///   - environment: what the process was given.
  /// - Returns: the exit code.
  /// - Throws: what the command throws.
  static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let name = arguments.first else {
      Console.writeError(helpText)
      return ExitCode.usage
    }
    switch name {
    case "--help", "-h", "help":
      Console.writeOutput(helpText)
      return ExitCode.success
    case "--version":
      Console.writeOutput("accelerate-swift \(programVersion)\n")
      return ExitCode.success
    default:
      return try named(name).run(Array(arguments.dropFirst()), environment: environment)
    }
  }

  static var helpText: String {
    var text = """
      usage: accelerate-swift COMMAND [flags]

      Fine-tunes language models with LoRA adapters, on one machine or several.

      Commands

      """
    for command in allCases {
      let padding = String(repeating: " ", count: 12 - command.rawValue.count)
      text += "  \(command.rawValue)\(padding)\(command.summary)\n"
    }
    return text + """

      `accelerate-swift COMMAND --help` lists the flags of a command; --version prints the version.

      """
  }
}
