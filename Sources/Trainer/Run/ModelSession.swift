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

/// A backend and a loaded base: where every command that runs a model begins.
struct ModelSession {
  let backend: any Backend
  let base: LoadedBase
  let placement: BasePlacement
  let reporter: Reporter
  private let progress: ProgressReporter

  /// Chooses the device and loads the base.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - directory: of the model.
  ///   - group: the ranks.
  ///   - environment: of the process.
  /// - Throws: ``UserError``.
  init(
    _ options: ModelOptions, directory: String, group: any ProcessGroup,
    environment: ProgramEnvironment
  ) throws {
    reporter = Reporter(group: group, environment: environment)
    progress = group.progress
    progress.enter(.loading)
    let (backend, remark) = try Assembly.backend(options, environment: environment)
    self.backend = backend
    reporter.note(
      "accelerate-swift \(programVersion): \(group.worldSize) "
        + "\(group.worldSize == 1 ? "rank" : "ranks"), \(backend.summary)")
    if let remark { reporter.note(remark) }
    let isNF4 = options.quantization == .nf4
    var bar = reporter.bar("loading", total: 1, every: nil)
    var isFirst = true
    let (reporter, progress) = (reporter, progress)
    let description = try LoadedBase.Description(
      directory: directory,
      quantization: QuantizationSettings(
        isNF4: isNF4, isDouble: options.doubleQuantization, includesRouter: options.quantizesRouter),
      backend: backend)
    let (placement, reason) = try BasePlacement.choose(
      options, byteCount: description.byteCount, group: group, environment: environment)
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
      "model \(directory): \(shape.architecture.rawValue), \(shape.layerCount) layers\(experts), "
        + "\(isNF4 ? "nf4" : "not quantized"), \(ByteText.short(description.byteCount))")
    if group.worldSize > 1 { reporter.note(reason) }
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

  /// A model over the base with an arena of its own.
  func makeModel(adapters: AdapterWeights?, positionCount: Int, arenaByteCount: Int) throws
    -> CausalLM
  {
    try CausalLM(
      configuration: base.configuration, layouts: base.layouts,
      stream: ReportingLayers(base.stream, progress: progress),
      adapters: adapters, positionCount: positionCount,
      arena: Arena(
        storage: try backend.makeStorage(byteCount: arenaByteCount), name: "activations"),
      backend: backend)
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
