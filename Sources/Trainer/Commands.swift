package import Support

/// A command that computes: reads its arguments, then runs.
package enum TrainCommand {
  /// Reads the arguments that follow the command's name and runs it.
  ///
  /// - Parameters:
  ///   - arguments: what follows `train`.
  ///   - environment: what the process was given.
  /// - Returns: the exit code.
  /// - Throws: ``UserError`` and what the run throws.
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard case .options(let options) = try TrainConfiguration.parser.parse(arguments) else {
      return Console.printHelp(of: TrainConfiguration.parser)
    }
    let configuration = try TrainConfiguration(options)
    if let output = configuration.output {
      try OutputDirectory.check(output, resumes: configuration.resumes)
    }
    throw UserError(.usage, at: "train", "not available")
  }
}

/// See ``TrainCommand``.
package enum EvaluateCommand {
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard case .options(let options) = try EvaluateConfiguration.parser.parse(arguments) else {
      return Console.printHelp(of: EvaluateConfiguration.parser)
    }
    _ = try EvaluateConfiguration(options)
    throw UserError(.usage, at: "evaluate", "not available")
  }
}

/// See ``TrainCommand``.
package enum GenerateCommand {
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard case .options(let options) = try GenerateConfiguration.parser.parse(arguments) else {
      return Console.printHelp(of: GenerateConfiguration.parser)
    }
    _ = try GenerateConfiguration(options)
    throw UserError(.usage, at: "generate", "not available")
  }
}
