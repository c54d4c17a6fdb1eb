internal import Data
internal import DistributedTraining
internal import Model
internal import Support

/// One run of `evaluate`.
struct EvaluateRun {
  let configuration: EvaluateConfiguration
  let environment: ProgramEnvironment
  let group: any ProcessGroup

  /// Evaluates the base, and the base with its adapter where one is given.
  ///
  /// - Returns: the exit code.
  /// - Throws: ``UserError`` and what devices and ranks throw.
  func run() throws -> Int32 {
    let isDemo = configuration.base.model == nil
    let demo = isDemo ? try Demo.materialize(cacheDirectory: environment.cacheDirectory) : nil
    let directory = configuration.base.model ?? demo?.model ?? ""
    let session = try ModelSession(
      configuration.base, directory: directory, group: group, environment: environment)
    let shape = session.base.configuration
    group.progress.enter(.data)
    var sources = configuration.samples.data
    if let demo { sources = [DataSource(path: demo.heldOutData)] }
    let set = try SampleSet.load(
      SampleSet.Request(
        sources: sources, options: configuration.samples, trainOn: .completion,
        modelDirectory: directory, vocabularySize: shape.vocabularySize,
        limit: configuration.limit, keepsQuestions: configuration.maxNewTokens > 0),
      cache: TokenCache(
        configuration.samples, group: group, environment: environment,
        reporter: session.reporter)
    ).training
    try set.checkAgreement(group)
    let adapter = try configuration.adapter.map { path throws(UserError) in
      try AdapterFile(directory: path, configuration: shape, base: session.base.source)
    }

    let evaluation = LossEvaluation(
      samples: set.dataset.samples, packTokens: max(2048, configuration.samples.maxLength),
      group: group)
    var questions: MatchEvaluation?
    if let tokenizer = set.tokenizer, configuration.maxNewTokens > 0, !set.questions.isEmpty {
      questions = MatchEvaluation(
        questions: set.questions, tokenizer: tokenizer.tokenizer, endIDs: set.endIDs(shape),
        maximumNewTokens: configuration.maxNewTokens,
        isLockStep: session.placement.isLockStep, group: group)
    }
    let plan = try session.makePlan(adapters: adapter?.layout)
    // Memory grows with both counts, so their maxima bound every pack.
    let shapes = evaluation.shapes
    var bytes = try plan.byteCount(
      tokenCount: shapes.map(\.tokens).max() ?? 1, targetCount: shapes.map(\.targets).max() ?? 1,
      retention: .nothing, hasDropout: false)
    if let batch = questions?.largestBatch {
      bytes = max(
        bytes, try plan.generationByteCount(tokenCount: batch.tokens, textCount: batch.texts))
    }
    let longest = max(set.dataset.summary.longest, questions?.longestText ?? 0)
    let arena = try session.makeArena(byteCount: bytes)
    let base = try session.makeModel(adapters: nil, positionCount: longest, arena: arena)
    let adapted = try adapter.map {
      try session.makeModel(
        adapters: session.makeWeights($0.layout, $0.values), positionCount: longest,
        arena: arena)
    }
    group.progress.enter(.evaluation)
    let comparison = try Comparison.run(
      base: base, adapted: adapted, evaluation: evaluation, questions: questions,
      reporter: session.reporter)
    if group.rank == 0 { Console.writeOutput(comparison.table) }
    return ExitCode.success
  }
}
