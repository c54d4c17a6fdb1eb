internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Optim
internal import Support

/// The loop around ``TrainStep``: packs in, metrics out, evaluation and checkpoints in between.
struct TrainLoop {
  let configuration: TrainConfiguration
  var plan: PackPlan
  let samples: [Sample]
  let step: TrainStep
  let evaluation: LossEvaluation?
  let files: RunFiles
  let reporter: Reporter

  private var group: any ProcessGroup { step.group }

  init(
    configuration: TrainConfiguration, plan: PackPlan, samples: [Sample], step: TrainStep,
    evaluation: LossEvaluation?, files: RunFiles, reporter: Reporter
  ) {
    self.configuration = configuration
    self.plan = plan
    self.samples = samples
    self.step = step
    self.evaluation = evaluation
    self.files = files
    self.reporter = reporter
  }

  /// Runs the steps after `done`, then saves the adapter.
  ///
  /// - Parameter done: steps that were done before.
  /// - Throws: what a step throws; and at the end, when something could not be written.
  mutating func run(from done: Int) throws {
    let total = plan.totalSteps
    var metrics: MetricsWriter? = group.rank == 0
      ? try MetricsWriter(path: files.metricsPath, resumingAfter: done) : nil
    var metricsError: UserError?
    var bar = reporter.bar(
      "step", total: total, completed: done, every: configuration.loggingSteps)
    var lastSaveError: UserError?
    var number = done
    while number < total {
      number += 1
      let start = SteadyClock.seconds()
      let sentBefore = group.bytesSent
      let (stepPlan, packs) = makeStep(number)
      let result = try step.run(stepPlan, packs: packs)
      let sent = Double(group.bytesSent - sentBefore)
      let seconds = SteadyClock.seconds() - start

      var record = MetricsRecord(step: number)
      record.loss = result.loss
      record.routerLoss = result.routerLoss
      record.gradientNorm = result.gradientNorm
      record.learningRate = result.learningRate
      record.targetTokens = stepPlan.targetTokens
      record.tokens = stepPlan.tokens
      record.tokensPerSecond = Double(stepPlan.tokens) / seconds
      record.stepSeconds = seconds
      record.bytesSent = Int(try group.allGather([sent]).reduce(0) { $0 + $1[0] })
      record.peakMemoryByteCount = PeakMemory.byteCount()
      bar.update(
        ProgressBar.Status(
          step: number, loss: result.loss, gradientNorm: result.gradientNorm,
          learningRate: result.learningRate, tokensPerSecond: record.tokensPerSecond))
      if let evaluation, isDue(configuration.evaluationSteps, number, total) {
        let loss = try evaluation.run(step.model)
        record.evaluationLoss = loss
        bar.note("step \(number): evaluation loss \(NumberText.fixed(loss, digits: 4))")
      }
      do throws(UserError) {
        try metrics?.append(record)
        metricsError = nil
      } catch {
        if metricsError == nil { bar.note("warning: \(error.unfixed); training goes on") }
        metricsError = error
      }
      if configuration.saveSteps > 0, isDue(configuration.saveSteps, number, total) {
        lastSaveError = try save(step: number)
        if let lastSaveError {
          bar.note("warning: checkpoint not written: \(lastSaveError.unfixed); training goes on")
        }
      }
    }
    bar.finish()
    if group.rank == 0 {
      try finish(checkpoint: lastSaveError, metrics: metricsError)
    }
  }

  /// Saves the adapter; then tells what else could not be written.
  private func finish(checkpoint: UserError?, metrics: UserError?) throws {
    step.model.arena.giveBackPages()
    let weights = try weights()
    do throws(UserError) {
      try files.writeAdapter(weights)
    } catch {
      let newest = try? OutputDirectory.newestCheckpoint(in: files.output)
      throw UserError(
        .system, at: error.location, "the adapter was not written: \(error.message)",
        fix: newest.map {
          "make room, then go on with --resume from \($0.path), which is whole"
        } ?? "make room and run again; there is no checkpoint")
    }
    guard let error = checkpoint ?? metrics else { return }
    throw UserError(
      .system, at: error.location,
      (checkpoint == nil ? "metrics are missing: " : "the last checkpoint was not written: ")
        + "\(error.message); the adapter is whole in \(files.output)",
      fix: "make room on the disk")
  }

  /// Every so many steps, and at the end.
  private func isDue(_ interval: Int, _ number: Int, _ total: Int) -> Bool {
    number == total || (interval > 0 && number % interval == 0)
  }

  /// The packs of a step, of which this rank lays out its own run.
  private mutating func makeStep(_ number: Int) -> (StepPlan, [PackInput]) {
    let packs = plan.packs(ofStep: number)
    let indices = packs.joined()
    let stepPlan = StepPlan(
      step: number, packCount: packs.count,
      targetTokens: max(1, indices.reduce(0) { $0 + samples[$1].targetTokens }),
      tokens: indices.reduce(0) { $0 + samples[$1].tokens.count })
    let run = PackRuns.run(
      ofRank: group.rank, packCount: packs.count, worldSize: group.worldSize)
    return (stepPlan, packs[run].map { PackInput(Pack($0, of: samples)) })
  }

  /// Gathers the moments and writes a checkpoint on rank 0.
  ///
  /// - Returns: why it could not be written; training goes on then, and older checkpoints stay.
  private func save(step number: Int) throws -> UserError? {
    let backend = step.model.backend
    // What is written takes the place of the activations.
    step.model.arena.giveBackPages()
    defer { PeakMemory.trim() }
    let moments = try [step.optimizer.firstMoment, step.optimizer.secondMoment].map { slice in
      try step.exchange.withFreeBuffer { whole in
        try step.exchange.gatherWhole(slice, into: whole)
        return group.rank == 0 ? try backend.download(whole) : []
      }
    }
    guard group.rank == 0 else { return nil }
    do throws(UserError) {
      try files.writeCheckpoint(
        step: number, weights: weights(), firstMoment: moments[0], secondMoment: moments[1],
        keeping: configuration.keepCheckpoints)
      return nil
    } catch {
      return error
    }
  }

  private func weights() throws(UserError) -> [Float] {
    do {
      return try step.model.backend.download(step.weights)
    } catch {
      throw UserError(.system, "\(error)")
    }
  }
}
