import DistributedTraining
import Support
import Trainer

extension Command {
  /// What a command needs on every host.
  struct Needs {
    var paths: [HostRequest.Path] = []
    /// Whether the base is stored in 4 bits.
    var isQuantized = false
    /// Whether the base may be divided among the ranks of all hosts.
    var isDivided = false
  }

  /// Reads what a command needs from its arguments and its configuration file.
  ///
  /// - Parameters:
  ///   - arguments: a command and its arguments, which `check` accepted.
  ///   - directory: where relative paths begin.
  /// - Throws: what `check` throws.
  static func needs(_ arguments: [String], directory: String) throws(UserError) -> Needs {
    let rest = Array(arguments.dropFirst())
    var needs = Needs()
    func add(_ flag: String, _ path: String?) {
      guard let path else { return }
      let whole = path.hasPrefix("/") ? path : "\(directory)/\(path)"
      needs.paths.append(HostRequest.Path(flag: flag, path: whole))
    }
    func add(_ base: ModelOptions) {
      add("--model", base.modelPath)
      needs.isQuantized = base.quantization != .none
      needs.isDivided = base.shard != .none && base.shardGroup != .host
    }
    switch arguments.first.flatMap({ Command(rawValue: $0) }) {
    case .train:
      guard let configuration = try TrainCommand.configuration(rest) else { break }
      add(configuration.base)
      for source in configuration.samples.data { add("--data", source.file) }
      add("--eval-data", configuration.evaluationData.flatMap { DataSource(path: $0).file })
      add("--init-adapter", configuration.initialAdapter)
    case .evaluate:
      guard let configuration = try EvaluateCommand.configuration(rest) else { break }
      add(configuration.base)
      for source in configuration.samples.data { add("--data", source.file) }
      add("--adapter", configuration.adapter)
    case .generate:
      guard let configuration = try GenerateCommand.configuration(rest) else { break }
      add(configuration.base)
      add("--adapter", configuration.adapter)
    case .data, .plan, .tokenize, .test, .env, .launch, nil: break
    }
    add("--config", configurationFile(rest))
    return needs
  }

  /// The value of `--config`, which every rank reads.
  private static func configurationFile(_ arguments: [String]) -> String? {
    for (index, word) in arguments.enumerated() {
      if word == "--config", index + 1 < arguments.count { return arguments[index + 1] }
      if word.hasPrefix("--config=") { return String(word.dropFirst("--config=".count)) }
    }
    return nil
  }
}
