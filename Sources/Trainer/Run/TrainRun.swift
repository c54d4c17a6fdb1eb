internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Optim
internal import Support

/// One run of `train`: puts the parts together, then hands over to ``TrainLoop``.
struct TrainRun {
  let configuration: TrainConfiguration
  let environment: ProgramEnvironment
  let group: any ProcessGroup

  /// Runs to the end.
  ///
  /// - Returns: the exit code.
  /// - Throws: ``UserError`` and what devices and ranks throw.
  func run() throws -> Int32 {
    var makeTable: (() throws -> PlanTable)?
    do {
      return try run(keeping: &makeTable)
    } catch let error as ComputeError where error.isOutOfMemory {
      guard let table = try makeTable?() else { throw error }
      throw UserError(
        .system, "\(error)\n\nplanned was\n\n\(table.text)",
        fix: "end what else takes the GPU's memory, or run with settings that take less")
    }
  }

  /// Runs to the end, and hands out what makes the plan's table as soon as it is known.
  private func run(keeping makeTable: inout (() throws -> PlanTable)?) throws -> Int32 {
    let isDemo = configuration.isDemo
    let demo = isDemo ? try Demo.materialize(cacheDirectory: environment.cacheDirectory) : nil
    let modelDirectory = configuration.base.model ?? demo?.model ?? ""
    let heldOutPath = configuration.evaluationData ?? demo?.heldOutData

    let opening = try ModelOpening(
      configuration.base, directory: modelDirectory, group: group, environment: environment)
    let reporter = opening.reporter
    let shape = opening.description.configuration
    let progress = group.progress
    progress.enter(.data)
    let heldBefore = PeakMemory.heldByteCount()
    let cache = try TokenCache(
      configuration.samples, group: group, environment: environment, reporter: reporter)
    var request = SampleSet.Request(
      sources: configuration.samples.data, options: configuration.samples,
      trainOn: configuration.trainOn, modelDirectory: modelDirectory,
      vocabularySize: shape.vocabularySize, holdOut: configuration.heldOutRows)
    if let demo { request.sources = [DataSource(path: demo.trainingData)] }
    var (training, heldOut) = try SampleSet.load(request, cache: cache)
    if let heldOutPath {
      request.sources = [DataSource(path: heldOutPath)]
      request.keepsQuestions = isDemo
      request.holdOut = nil
      heldOut = try SampleSet.load(request, cache: cache).training
    }
    try training.checkAgreement(group)
    training.report(reporter)
    if let heldOut { heldOut.report(reporter, label: "held out") }

    let plan = try PackPlan(
      lengths: training.dataset.samples.lengths,
      settings: PackPlan.Settings(
        filling: configuration.filling, packsPerStep: configuration.packsPerStep,
        shuffle: configuration.shuffles, seed: UInt64(bitPattern: Int64(configuration.seed)),
        epochs: configuration.epochs, maxSteps: configuration.maxSteps))
    reporter.note(plan.summary)
    if configuration.packsPerStep < group.worldSize {
      reporter.note(
        "warning: \(group.worldSize) ranks, but a step has \(configuration.packsPerStep) packs; "
          + "\(group.worldSize - configuration.packsPerStep) ranks idle\n"
          + "  fix: --packs-per-step \(group.worldSize), or fewer ranks")
    }

    var source = try AdapterSource(configuration, base: opening.description)
    let used = source.settings(of: configuration)
    let evaluation = heldOut.map {
      LossEvaluation(
        samples: $0.dataset.samples, packTokens: max(2048, configuration.samples.maxLength),
        group: group)
    }
    let texts = isDemo ? heldOut.flatMap { demoQuestions($0, shape) } : nil
    let longest = max(
      training.dataset.summary.longest, heldOut?.dataset.summary.longest ?? 0,
      texts?.longestText ?? 0)
    if longest > shape.positionCount {
      reporter.note(
        "warning: samples of up to \(longest) tokens, but the model was made for "
          + "\(shape.positionCount)\n  fix: lower --max-length")
    }
    // Before memory is looked at: what collectives take for themselves is gone then, and known.
    let freeBefore = try opening.backend.freeByteCount() ?? 0
    let collectives =
      group.worldSize > 1 ? try opening.transport.makeCollectives(group, opening.backend) : nil
    let collectivesByteCount = max(0, try freeBefore - (opening.backend.freeByteCount() ?? 0))
    let memory = try MemoryCheck(
      configuration: configuration, opening: opening, source: source, packs: plan,
      training: training, evaluation: evaluation, questions: texts, positionCount: longest,
      heldBefore: heldBefore, collectivesByteCount: collectivesByteCount
    ).run()
    makeTable = memory.makeTable

    let session = try ModelSession(
      opening,
      placement: BasePlacement.make(memory.plan.placement, opening),
      reason: memory.reason)
    let output = try prepareOutput()
    var state = try RunState(
      configuration: used, output: output, values: source.takeValues(),
      layout: source.layout, training: training, base: opening.description, group: group,
      reporter: reporter)
    let products = try ProductAgreement.settle(
      memory.plan.workspaces?.products ?? [], known: state.products, backend: session.backend,
      group: group,
      reporter: reporter)
    var questions = texts
    questions?.isLockStep = session.placement.isLockStep
    let slices = WeightSlices(parts: source.layout.parts, worldSize: group.worldSize)
    let exchange = try GradientExchange(
      group: group, slices: slices,
      maximumPackCount: min(configuration.packsPerStep, training.dataset.samples.count),
      backend: session.backend, collectives: collectives)
    let weights = try session.makeWeights(source.layout, state.takeWeights())
    try memory.plan.workspaces?.reserve()
    let arena = try session.makeArena(byteCount: memory.plan(.activations))
    let model = try session.makeModel(
      adapters: weights, positionCount: longest, arena: arena)
    let optimizer = try AdamW(
      AdamWSettings(
        beta1: configuration.adamBeta1, beta2: configuration.adamBeta2,
        epsilon: configuration.adamEpsilon, weightDecay: configuration.weightDecay),
      count: slices.count(ofRank: group.rank), backend: session.backend)
    try state.loadMoments(into: optimizer, backend: session.backend) {
      slices.slice(ofRank: group.rank, of: $0)
    }
    let step = TrainStep(
      model: model, weights: weights.values, group: group, exchange: exchange,
      optimizer: optimizer,
      schedule: LearningRateSchedule(
        kind: LearningRateSchedule.Kind(rawValue: configuration.scheduler.rawValue) ?? .linear,
        peak: configuration.learningRate, warmupSteps: configuration.warmupSteps,
        totalSteps: plan.totalSteps),
      maximumGradientNorm: configuration.maxGradientNorm,
      routerLossCoefficient: configuration.routerLossCoefficient
        ?? shape.routerLossCoefficient,
      dropout: (UInt64(bitPattern: Int64(configuration.seed)), source.layout.settings.dropout),
      retention: memory.plan.retention)

    let files = RunFiles(
      output: output, layout: source.layout, family: shape.architecture,
      baseModel: configuration.base.model ?? "accelerate-swift-demo", identity: state.identity,
      products: products)
    if group.rank == 0 {
      try files.writeSettings(
        used, output: output, tokenizer: training.tokenizer, modelDirectory: modelDirectory)
    }
    var loop = TrainLoop(
      configuration: configuration, plan: plan, samples: training.dataset.samples, step: step,
      evaluation: evaluation, files: files, reporter: reporter)
    if case .stopped(let step) = try loop.run(from: state.step) {
      reporter.note(
        step > 0
          ? "stopped after step \(step), which is saved; --resume --output \(output) goes on"
          : "stopped before the first step")
      return ExitCode.savedPleaseRequeue
    }

    if let questions, let evaluation {
      let bare = try session.makeModel(adapters: nil, positionCount: longest, arena: arena)
      group.progress.enter(.evaluation)
      let comparison = try Comparison.run(
        base: bare, adapted: model, evaluation: evaluation, questions: questions,
        reporter: reporter)
      if group.rank == 0 { Console.writeOutput(comparison.table) }
    }
    group.progress.enter(.finishing)
    let planned = ", planned \(ByteText.short(memory.plan.rankByteCount))"
    func largest(_ byteCount: Int) throws -> String {
      let ranks = try group.allGather([Double(byteCount)])
      return ByteText.short(Int(ranks.map { $0[0] }.max() ?? 0))
    }
    let peak = try largest(PeakMemory.heldPeakByteCount())
    if let byteCount = session.backend.peakByteCount {
      reporter.note("peak memory per rank: \(peak) of the host")
      reporter.note("peak memory of a GPU per rank: \(try largest(byteCount))\(planned)")
    } else {
      reporter.note("peak memory per rank: \(peak)\(planned)")
    }
    reporter.note("adapter: \(output)")
    return ExitCode.success
  }

  // MARK: Parts

  /// The run's directory, chosen by rank 0.
  private func prepareOutput() throws -> String {
    var output = configuration.output ?? ""
    if configuration.output == nil {
      let free =
        group.rank == 0
        ? try OutputDirectory.makeFirstFree(name: OutputDirectory.baseName(of: configuration)) : ""
      output = try group.broadcast(free)
    }
    if group.rank == 0 {
      try OutputDirectory.check(output, resumes: configuration.resumes)
      try FileSystem.makeDirectories(output)
      try OutputDirectory.removeLeftovers(in: output)
      group.progress.announceOutput(output)
    }
    return output
  }

  private func demoQuestions(_ set: SampleSet, _ shape: ModelConfiguration) -> MatchEvaluation? {
    set.tokenizer.map {
      MatchEvaluation(
        questions: set.questions, tokenizer: $0.tokenizer,
        endIDs: set.endIDs(shape), maximumNewTokens: 128,
        isLockStep: false, group: group)
    }
  }
}

extension TrainConfiguration {
  var isDemo: Bool { base.model == nil && samples.data.isEmpty }

  var filling: PackPlan.Filling {
    switch packing {
    case .tokens(let count): .packTokens(count)
    case .samples(let count): .samplesPerPack(count)
    }
  }
}
