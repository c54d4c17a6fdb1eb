package import Support

/// A command that computes.
package enum TrainCommand {
  /// Reads and checks the arguments without computing anything.
  ///
  /// - Parameter arguments: what follows `train`.
  /// - Returns: the settings; nil when the help was asked for and has been printed.
  /// - Throws: ``UserError``.
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> TrainConfiguration?
  {
    guard let options = try TrainConfiguration.parser.optionsOrHelp(arguments) else { return nil }
    let configuration = try TrainConfiguration(options)
    if let output = configuration.output {
      try OutputDirectory.check(output, resumes: configuration.resumes)
    }
    return configuration
  }

  /// Reads the arguments that follow the command's name and runs it.
  ///
  /// - Parameters:
  ///   - arguments: what follows `train`.
  ///   - environment: what the process was given.
  /// - Returns: the exit code.
  /// - Throws: ``UserError`` and what the run throws.
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard try configuration(arguments) != nil else { return ExitCode.success }
    throw UserError(.usage, at: "train", "not available")
  }
}

/// See ``TrainCommand``.
package enum EvaluateCommand {
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> EvaluateConfiguration?
  {
    guard let options = try EvaluateConfiguration.parser.optionsOrHelp(arguments) else {
      return nil
    }
    return try EvaluateConfiguration(options)
  }

  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard try configuration(arguments) != nil else { return ExitCode.success }
    throw UserError(.usage, at: "evaluate", "not available")
  }
}

/// See ``TrainCommand``.
package enum GenerateCommand {
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> GenerateConfiguration?
  {
    guard let options = try GenerateConfiguration.parser.optionsOrHelp(arguments) else {
      return nil
    }
    return try GenerateConfiguration(options)
  }

  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard try configuration(arguments) != nil else { return ExitCode.success }
    throw UserError(.usage, at: "generate", "not available")
  }
}
