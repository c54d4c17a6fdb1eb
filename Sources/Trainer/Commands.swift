internal import DistributedTraining
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
    guard var options = try TrainConfiguration.parser.optionsOrHelp(arguments) else { return nil }
    if !options.isGiven("model") && !options.isGiven("data") {
      options = options.replacingDefaults(Demo.settings)
    }
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
  /// - Throws: ``UserError`` for arguments; failures of the run are reported by the rank they hit.
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    return RankJob.run(savesOnStop: true) { group in
      try TrainRun(configuration: configuration, environment: environment, group: group).run()
    }
  }
}

extension TrainCommand {
  /// The command that continues a run.
  ///
  /// - Parameters:
  ///   - command: `train` and its arguments, which were accepted before.
  ///   - output: the run's directory.
  /// - Returns: the same with `--resume` and `--output`.
  package static func resuming(_ command: [String], output: String) -> [String] {
    var words = command.filter { !$0.hasPrefix("--resume=") }
    if !words.contains("--resume") { words.append("--resume") }
    if !words.contains(where: { $0 == "--output" || $0.hasPrefix("--output=") }) {
      words.append("--output=\(output)")
    }
    return words
  }
}

/// See ``TrainCommand``.
package enum EvaluateCommand {
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> EvaluateConfiguration?
  {
    guard var options = try EvaluateConfiguration.parser.optionsOrHelp(arguments) else {
      return nil
    }
    if !options.isGiven("model") && !options.isGiven("data") {
      options = options.replacingDefaults(Demo.settings)
    }
    return try EvaluateConfiguration(options)
  }

  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    return RankJob.run { group in
      try EvaluateRun(configuration: configuration, environment: environment, group: group).run()
    }
  }
}

/// See ``TrainCommand``.
package enum GenerateCommand {
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> GenerateConfiguration?
  {
    guard var options = try GenerateConfiguration.parser.optionsOrHelp(arguments) else {
      return nil
    }
    if !options.isGiven("model") {
      // The demo's prompt is a template over rows, and this one the text itself.
      options = options.replacingDefaults(Demo.settings.filter { $0.name != "prompt" })
    }
    return try GenerateConfiguration(options)
  }

  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    return RankJob.run { group in
      try GenerateRun(configuration: configuration, environment: environment, group: group).run()
    }
  }
}
