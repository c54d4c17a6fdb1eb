internal import Compute
internal import DistributedTraining
internal import Model
package import Support

/// See ``TrainCommand``.
package enum PlanCommand {
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> PlanConfiguration?
  {
    guard let options = try PlanConfiguration.parser.optionsOrHelp(arguments) else { return nil }
    return try PlanConfiguration(options)
  }

  /// Prints the plan.
  ///
  /// - Parameters:
  ///   - arguments: what follows `plan`.
  ///   - environment: what the process was given.
  /// - Returns: the exit code: failure when the run does not fit.
  /// - Throws: ``UserError``.
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    let (text, fits) = try describe(configuration, environment: environment)
    Console.writeOutput(text)
    return fits ? ExitCode.success : ExitCode.failure
  }

  /// The plan as text, and whether the run fits.
  package static func describe(
    _ configuration: PlanConfiguration, environment: ProgramEnvironment
  ) throws -> (text: String, fits: Bool) {
    let train = configuration.train
    let path =
      try train.base.model
      ?? Demo.materialize(cacheDirectory: environment.cacheDirectory).model
    let (model, stored) = try PlannedModel.open(path)
    var options = train.base
    if options.threads == 0 {
      options.threads = CPUBudget.threadsPerRank(localWorldSize: configuration.ranksPerHost)
    }
    let (backend, _) = try Assembly.backend(options, environment: environment)
    let pack = train.largestPack
    let gpus = backend.hasHostMemory ? 1 : try GPUPlacement.count(environment)
    var planner = Planner(
      configuration: model, stored: stored,
      adapters: AdapterLayout(model, try AdapterSource.settings(train, model)), backend: backend,
      memoryByteCount: try configuration.memoryByteCount ?? backend.freeByteCount()
        ?? HostMemory.availableByteCount(),
      runtimeByteCount: RuntimeMemory.expected(worldSize: configuration.ranks),
      positionCount: pack.longest)
    planner.savesCheckpoints = train.saveSteps > 0
    planner.usesMPI = options.collectives == .mpi
    let plan = try planner.plan(
      PlanSettings(
        quantization: train.base.quantizationSettings, checkpointing: train.gradientCheckpointing,
        pack: pack, packsPerStep: train.packsPerStep, shard: train.base.shard,
        shardGroup: train.base.shardGroup, worldSize: configuration.ranks,
        ranksPerHost: configuration.ranksPerHost,
        ranksPerMemory: (configuration.ranksPerHost + gpus - 1) / gpus))
    let table = try PlanTable(planner, plan, title: PlannedModel.title(path, model, train.base))
    return (table.text, table.fits)
  }
}

/// A model that is known by its files, or by its `config.json` alone.
enum PlannedModel {
  /// - Parameter path: a model directory, a `config.json`, or either after `synthetic:`.
  /// - Returns: the configuration and how its tensors are stored.
  /// - Throws: ``UserError``.
  static func open(_ path: String) throws(UserError)
    -> (ModelConfiguration, SlabLayout.FormatRule)
  {
    if let path = SyntheticWeights.path(in: path) {
      let model = try SyntheticWeights(path: path).model
      return (model.configuration, model.formats)
    }
    guard !FileSystem.isDirectory(path) else {
      let files = try ModelFiles(directory: path)
      let configuration = try ModelConfiguration(directory: path)
      return (configuration, try files.splittingExperts(configuration).formats)
    }
    let model = try BareModel(path: path)
    return (model.configuration, model.formats)
  }

  /// One line that names a model and its storage.
  static func title(_ path: String, _ model: ModelConfiguration, _ options: ModelOptions) -> String
  {
    let experts = model.isMixture ? ", \(model.expertCount) experts" : ""
    return
      "\(path): \(model.architecture.rawValue), \(model.layerCount) layers\(experts), "
      + options.storageText(model)
  }
}

extension ModelOptions {
  /// How the base is stored, for people.
  func storageText(_ model: ModelConfiguration) -> String {
    if model.storedQuantization != nil { return "nf4 as in the checkpoint" }
    guard quantization == .nf4 else { return "not quantized" }
    return "nf4\(doubleQuantization ? ", double quantization" : "")"
  }
}

extension ModelOptions {
  var quantizationSettings: QuantizationSettings {
    QuantizationSettings(
      isNF4: quantization == .nf4, isDouble: doubleQuantization, includesRouter: quantizesRouter)
  }
}

extension TrainConfiguration {
  /// The largest pack that the settings allow, whatever the data.
  var largestPack: PackShape {
    let tokens: Int
    switch packing {
    case .tokens(let count): tokens = count
    case .samples(let count): tokens = count * samples.maxLength
    }
    return PackShape(tokens: tokens, targets: tokens, longest: min(tokens, samples.maxLength))
  }
}
