internal import Data
internal import DistributedTraining
internal import Model
package import Support

/// See ``TrainCommand``.
package enum DataCommand {
  package static func configuration(_ arguments: [String]) throws(UserError) -> DataConfiguration? {
    guard var options = try DataConfiguration.parser.optionsOrHelp(arguments) else { return nil }
    if !options.isGiven("model") && !options.isGiven("data") {
      options = options.replacingDefaults(Demo.settings)
    }
    return try DataConfiguration(options)
  }

  /// Prints what there is to see.
  ///
  /// - Parameters:
  ///   - arguments: what follows `data`.
  ///   - environment: what the process was given.
  /// - Returns: the exit code.
  /// - Throws: ``UserError``.
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    let demo =
      configuration.model == nil
      ? try Demo.materialize(cacheDirectory: environment.cacheDirectory) : nil
    let directory = configuration.model ?? demo?.model ?? ""
    var sources = configuration.samples.data
    if let demo, sources.isEmpty { sources = [DataSource(path: demo.trainingData)] }
    let group = SoloGroup()
    let files = try TokenizedFiles(
      SampleSet.Request(
        sources: sources, options: configuration.samples, trainOn: configuration.trainOn,
        modelDirectory: directory,
        vocabularySize: BaseSource.configuration(directory).vocabularySize),
      cache: TokenCache(
        configuration.samples, group: group, environment: environment,
        reporter: Reporter(group: group, environment: environment)))
    let look = try DataLook(configuration, files)
    Console.writeOutput(try look.text(usesColour: Console.isOutputTerminal))
    if let path = configuration.svg {
      let title = "\(look.statistics.rows) rows, \(look.statistics.tokens) tokens"
      try FileSystem.writeAtomically(
        LengthHistogram(look.statistics.lengths, barCount: 40).svg(title: title), to: path)
    }
    return ExitCode.success
  }
}
