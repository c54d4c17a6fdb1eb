internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Support

/// What rank 0 tells the user; the other ranks are silent.
struct Reporter {
  let isSilent: Bool
  let environment: ProgramEnvironment

  init(group: any ProcessGroup, environment: ProgramEnvironment) {
    isSilent = group.rank != 0
    self.environment = environment
  }

  /// A line on standard error.
  func note(_ text: String) {
    if !isSilent { Console.writeError(text + "\n") }
  }

  /// A progress bar, or lines every so many steps; with nil nothing where there is no terminal.
  func bar(_ label: String, total: Int, completed: Int = 0, every: Int?) -> ProgressBar {
    let isShown = !isSilent && (environment.isTerminal || every != nil)
    let write: (String) -> Void = isShown ? { Console.writeError($0) } : { _ in }
    return ProgressBar(
      label: label, total: total, completed: completed,
      style: environment.isTerminal
        ? .terminal(columns: environment.terminalColumns) : .lines(every: every ?? 1),
      clock: { SteadyClock.seconds() }, write: write)
  }
}

/// A backend and a model that is known and checked, but not loaded.
struct ModelOpening {
  let options: ModelOptions
  let directory: String
  let backend: any Backend
  let transport: Transport
  let description: LoadedBase.Description
  let group: any ProcessGroup
  let environment: ProgramEnvironment
  let reporter: Reporter
  let progress: ProgressReporter

  /// Chooses the device and opens the model.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - directory: of the model, or `synthetic:` and the path of a `config.json`.
  ///   - group: the ranks.
  ///   - environment: of the process.
  /// - Throws: ``UserError``.
  init(
    _ options: ModelOptions, directory: String, group: any ProcessGroup,
    environment: ProgramEnvironment
  ) throws {
    self.options = options
    self.directory = directory
    self.group = group
    self.environment = environment
    reporter = Reporter(group: group, environment: environment)
    progress = group.progress
    progress.enter(.loading)
    let (backend, remark) = try Assembly.backend(
      options, environment: environment, localRank: group.localRank, didMove: progress.move)
    self.backend = backend
    reporter.note(
      "accelerate-swift \(programVersion): \(group.worldSize) "
        + "\(group.worldSize == 1 ? "rank" : "ranks"), \(backend.summary)")
    if let remark { reporter.note(remark) }
    let (transport, notes) = try Transport.choose(
      options.collectives, group: group, backend: backend, environment: environment)
    self.transport = transport
    for note in notes { reporter.note(note) }
    description = try LoadedBase.Description(
      directory: directory, quantization: options.quantizationSettings, backend: backend)
    if SyntheticWeights.path(in: directory) != nil {
      reporter.note(
        "warning: the weights of \(directory) are random numbers; speed and memory are real, losses "
          + "and adapters mean nothing")
    }
  }
}

/// A backend and a loaded base: where every command that runs a model begins.
struct ModelSession {
  let backend: any Backend
  let base: LoadedBase
  let placement: BasePlacement
  let reporter: Reporter
  private let progress: ProgressReporter

  /// Opens and loads a model; see ``ModelOpening``.
  init(
    _ options: ModelOptions, directory: String, group: any ProcessGroup,
    environment: ProgramEnvironment
  ) throws {
    let opening = try ModelOpening(
      options, directory: directory, group: group, environment: environment)
    let (placement, reason) = try BasePlacement.choose(
      options, byteCount: opening.description.byteCount, opening: opening)
    try self.init(opening, placement: placement, reason: reason)
  }

  /// Loads an opened model.
  ///
  /// - Parameters:
  ///   - opening: of the model.
  ///   - placement: who holds it.
  ///   - reason: why; for the user.
  /// - Throws: ``UserError``.
  init(_ opening: ModelOpening, placement: BasePlacement, reason: String) throws {
    reporter = opening.reporter
    progress = opening.progress
    backend = opening.backend
    var bar = reporter.bar("loading", total: 1, every: nil)
    var isFirst = true
    let (reporter, progress) = (reporter, progress)
    let description = opening.description
    self.placement = placement
    base = try LoadedBase(description, placement: placement, backend: backend) { done, total in
      if isFirst {
        bar = reporter.bar("loading", total: total, every: nil)
        isFirst = false
      }
      bar.update(ProgressBar.Status(step: done))
      progress.move()
    }
    bar.finish()
    let shape = base.configuration
    let experts = shape.isMixture ? ", \(shape.expertCount) experts" : ""
    reporter.note(
      "model \(opening.directory): \(shape.architecture.rawValue), \(shape.layerCount) "
        + "layers\(experts), \(opening.options.storageText(shape)), \(ByteText.short(description.byteCount))"
    )
    if opening.group.worldSize > 1 { reporter.note(reason) }
    noteBrokenBlocks()
  }

  /// See docs/decisions/0002 for what such matrices mean.
  private func noteBrokenBlocks() {
    let items = base.layouts.flatMap(\.items).filter { item in
      if case .nf4 = item.format { item.columns > 64 && item.columns % 64 != 0 } else { false }
    }
    guard let first = items.first else { return }
    reporter.note(
      "warning: \(items.count) nf4 matrices have rows that are no whole blocks of 64 (first "
        + "\(first.name), width \(first.columns)); they lose more than others, as in bitsandbytes")
  }

  /// Memory for activations.
  func makeArena(byteCount: Int) throws -> Arena {
    Arena(storage: try backend.makeStorage(byteCount: byteCount), name: "activations")
  }

  /// A model over the base. Models that run one after the other may have one arena.
  func makeModel(adapters: AdapterWeights?, positionCount: Int, arena: Arena) throws -> CausalLM {
    try CausalLM(
      configuration: base.configuration, layouts: base.layouts,
      stream: ReportingLayers(base.stream, progress: progress), adapters: adapters,
      positionCount: positionCount, arena: arena, backend: backend)
  }

  /// Finds out how much memory passes take.
  func makePlan(adapters: AdapterLayout?) throws -> ActivationPlan {
    try ActivationPlan(
      base.configuration, layouts: base.layouts, adapters: adapters,
      activationType: backend.activationType)
  }

  /// The flat vector of adapter weights on the device.
  func makeWeights(_ layout: AdapterLayout, _ values: [Float]) throws -> AdapterWeights {
    let tensor = Tensor(
      storage: try backend.makeStorage(byteCount: max(4 * layout.elementCount, 4)),
      columns: layout.elementCount)
    try backend.upload(values, to: tensor)
    return AdapterWeights(layout: layout, values: tensor)
  }
}
