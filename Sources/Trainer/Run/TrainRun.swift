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
    let isDemo = configuration.isDemo
    let demo = isDemo ? try Demo.materialize(cacheDirectory: environment.cacheDirectory) : nil
    let modelDirectory = configuration.base.model ?? demo?.model ?? ""
    let dataPath = configuration.samples.data ?? demo?.trainingData ?? ""
    let heldOutPath = configuration.evaluationData ?? demo?.heldOutData

    let session = try ModelSession(
      configuration.base, directory: modelDirectory, group: group, environment: environment)
    let reporter = session.reporter
    let progress = group.progress
    progress.enter(.data)
    let training = try SampleSet(
      path: dataPath, options: configuration.samples, trainOn: configuration.trainOn,
      modelDirectory: modelDirectory, vocabularySize: session.base.configuration.vocabularySize
    ) { _, _ in progress.move() }
    let heldOut = try heldOutPath.map {
      try SampleSet(
        path: $0, options: configuration.samples, trainOn: configuration.trainOn,
        modelDirectory: modelDirectory, vocabularySize: session.base.configuration.vocabularySize,
        keepsQuestions: isDemo
      ) { _, _ in progress.move() }
    }
    report(training, dataPath, session)

    let plan = try PackPlan(
      lengths: training.dataset.lengths,
      settings: PackPlan.Settings(
        filling: configuration.filling, packsPerStep: configuration.packsPerStep,
        shuffle: configuration.shuffles, seed: UInt64(bitPattern: Int64(configuration.seed)),
        epochs: configuration.epochs, maxSteps: configuration.maxSteps))
    if configuration.packsPerStep < group.worldSize {
      reporter.note(
        "warning: \(group.worldSize) ranks, but a step has \(configuration.packsPerStep) packs; "
          + "\(group.worldSize - configuration.packsPerStep) ranks idle\n"
          + "  fix: --packs-per-step \(group.worldSize), or fewer ranks")
    }

    let source = try AdapterSource(configuration, base: session.base)
    let used = source.settings(of: configuration)
    let output = try prepareOutput()
    let state = try RunState(
      configuration: used, output: output, source: source, training: training,
      base: session.base, group: group, reporter: reporter)
    let exchange = try GradientExchange(
      group: group, elementCount: source.layout.elementCount,
      maximumPackCount: min(configuration.packsPerStep, training.dataset.samples.count),
      backend: session.backend)
    let evaluation = heldOut.map {
      LossEvaluation(
        samples: $0.dataset.samples, packTokens: max(2048, configuration.samples.maxLength),
        group: group)
    }
    let questions = isDemo ? heldOut.flatMap { demoQuestions($0, session) } : nil
    let memory = try planMemory(
      session, source.layout, plan: plan, training: training, evaluation: evaluation,
      questions: questions, exchange: exchange)
    reporter.note(memory.summary)

    let weights = try session.makeWeights(source.layout, state.weights)
    let longest = max(
      training.dataset.summary.longest, heldOut?.dataset.summary.longest ?? 0,
      questions?.longestText ?? 0)
    if longest > session.base.configuration.positionCount {
      reporter.note(
        "warning: samples of up to \(longest) tokens, but the model was made for "
          + "\(session.base.configuration.positionCount)\n  fix: lower --max-length")
    }
    let model = try session.makeModel(
      adapters: weights, positionCount: longest, arenaByteCount: memory.activationByteCount)
    let slice = exchange.slices.range(ofRank: group.rank)
    let optimizer = try AdamW(
      AdamWSettings(
        beta1: configuration.adamBeta1, beta2: configuration.adamBeta2,
        epsilon: configuration.adamEpsilon, weightDecay: configuration.weightDecay),
      count: slice.count, backend: session.backend)
    try state.loadMoments(into: optimizer, slice: slice, backend: session.backend)
    let step = TrainStep(
      model: model, weights: weights.values, group: group, exchange: exchange,
      optimizer: optimizer,
      schedule: LearningRateSchedule(
        kind: LearningRateSchedule.Kind(rawValue: configuration.scheduler.rawValue) ?? .linear,
        peak: configuration.learningRate, warmupSteps: configuration.warmupSteps,
        totalSteps: plan.totalSteps),
      maximumGradientNorm: configuration.maxGradientNorm,
      routerLossCoefficient: configuration.routerLossCoefficient
        ?? session.base.configuration.routerLossCoefficient,
      dropout: (UInt64(bitPattern: Int64(configuration.seed)), source.layout.settings.dropout),
      retention: memory.retention)

    let files = RunFiles(
      output: output, layout: source.layout, isMixture: session.base.configuration.isMixture,
      baseModel: configuration.base.model ?? "accelerate-swift-demo", identity: state.identity)
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
      let bare = try session.makeModel(
        adapters: nil, positionCount: longest, arenaByteCount: memory.activationByteCount)
      group.progress.enter(.evaluation)
      let comparison = try Comparison.run(
        base: bare, adapted: model, evaluation: evaluation, questions: questions,
        reporter: reporter)
      if group.rank == 0 { Console.writeOutput(comparison.table) }
    }
    group.progress.enter(.finishing)
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

  private func report(_ set: SampleSet, _ path: String, _ session: ModelSession) {
    let summary = set.dataset.summary
    var line =
      "data \(path): \(summary.rows) rows, \(summary.tokens) tokens, "
      + "\(summary.targetTokens) trained, longest \(summary.longest)"
    if summary.dropped > 0 { line += ", \(summary.dropped) dropped as too long" }
    if summary.truncated > 0 { line += ", \(summary.truncated) prompts cut" }
    session.reporter.note(line)
  }

  private func demoQuestions(_ set: SampleSet, _ session: ModelSession) -> MatchEvaluation? {
    set.tokenizer.map {
      MatchEvaluation(
        questions: set.questions, tokenizer: $0.tokenizer,
        endIDs: set.endIDs(session.base.configuration), maximumNewTokens: 128,
        isLockStep: session.placement.isLockStep, group: group)
    }
  }

  private func planMemory(
    _ session: ModelSession, _ layout: AdapterLayout, plan: PackPlan, training: SampleSet,
    evaluation: LossEvaluation?, questions: MatchEvaluation?, exchange: GradientExchange
  ) throws -> MemoryPlan {
    let activations = try session.makePlan(adapters: layout)
    let hasDropout = layout.settings.dropout > 0
    let shapes = packShapes(plan, training)
    func byteCount(_ retention: CausalLM.Retention) throws -> Int {
      var bytes = try MemoryPlan.activationByteCount(
        activations, shapes: shapes, retention: retention, hasDropout: hasDropout)
      if let evaluation {
        bytes = max(
          bytes,
          try MemoryPlan.activationByteCount(
            activations, shapes: evaluation.shapes, retention: .nothing, hasDropout: false))
      }
      if let questions {
        let batch = questions.largestBatch
        bytes = max(
          bytes,
          try activations.generationByteCount(tokenCount: batch.tokens, textCount: batch.texts))
      }
      return bytes
    }
    let slice = exchange.slices.range(ofRank: group.rank).count
    let adapterByteCount = 4 * layout.elementCount + 8 * slice
    var retention: CausalLM.Retention
    switch configuration.gradientCheckpointing {
    case .on: retention = .inputs
    case .off: retention = .activations
    case .auto:
      // All ranks of a host share its memory; the decision must be the same everywhere.
      let room = HostMemory.availableByteCount() / group.localWorldSize
      let fits = try byteCount(.activations) + adapterByteCount + exchange.byteCount < room * 8 / 10
      retention = try group.allAgree(fits) ? .activations : .inputs
    }
    return MemoryPlan(
      baseByteCount: session.base.byteCount, adapterByteCount: adapterByteCount,
      exchangeByteCount: exchange.byteCount, activationByteCount: try byteCount(retention),
      retention: retention)
  }

  /// Tokens and targets of the packs of the first epochs; later epochs are bounded by the settings.
  private func packShapes(_ plan: PackPlan, _ training: SampleSet)
    -> [(tokens: Int, targets: Int)]
  {
    let samples = training.dataset.samples
    switch configuration.packing {
    case .tokens(let count):
      // No pack has more than all samples together.
      let summary = training.dataset.summary
      return [
        (min(max(count, summary.longest), summary.tokens), min(count, summary.targetTokens))
      ]
    case .samples(let count):
      // The longest samples together.
      let tokens = samples.map(\.tokens.count).sorted().suffix(count).reduce(0, +)
      let targets = samples.map(\.targetTokens).sorted().suffix(count).reduce(0, +)
      return [(tokens, targets)]
    }
  }
}

extension TrainConfiguration {
  var isDemo: Bool { base.model == nil && samples.data == nil }

  var filling: PackPlan.Filling {
    switch packing {
    case .tokens(let count): .packTokens(count)
    case .samples(let count): .samplesPerPack(count)
    }
  }
}
