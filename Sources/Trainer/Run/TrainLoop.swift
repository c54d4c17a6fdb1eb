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
  let samples: SampleList
  let step: TrainStep
  let evaluation: LossEvaluation?
  let files: RunFiles
  let reporter: Reporter

  private var group: any ProcessGroup { step.group }

  init(
    configuration: TrainConfiguration, plan: PackPlan, samples: SampleList, step: TrainStep,
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

  /// How the loop has ended.
  enum Outcome {
    case finished
    /// On request, after this many steps, which are saved.
    case stopped(afterStep: Int)
  }

  /// Runs the steps after `done`, then saves the adapter.
  ///
  /// - Parameter done: steps that were done before, and are saved.
  /// - Returns: whether it came to the last step.
  /// - Throws: what a step throws; and at the end, when something could not be written.
  mutating func run(from done: Int) throws -> Outcome {
    let total = plan.totalSteps
    var metrics: MetricsWriter? =
      group.rank == 0
      ? try MetricsWriter(path: files.metricsPath, resumingAfter: done) : nil
    var metricsError: UserError?
    var bar = reporter.bar(
      "step", total: total, completed: done, every: configuration.loggingSteps)
    var lastSaveError: UserError?
    var number = done
    var isStopping = try !group.allAgree(!group.progress.isStopRequested)
    while number < total && !isStopping {
      number += 1
      group.progress.enter(.step, step: number)
      let start = SteadyClock.seconds()
      let sentBefore = bytesSent
      var times = StepTimes()
      let (stepPlan, packs) = try times.measure(.data) {
        try plan.makeStep(number, of: samples, on: group)
      }
      let result = try step.run(stepPlan, packs: packs, times: &times)
      let sent = Double(bytesSent - sentBefore)
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
      record.times = times
      // One rank that was asked to stop is enough; all of them stop after this step.
      let shared = try group.allGather([sent, group.progress.isStopRequested ? 1 : 0])
      record.bytesSent = Int(shared.reduce(0) { $0 + $1[0] })
      isStopping = shared.contains { $0[1] != 0 } && number < total
      record.peakMemoryByteCount = PeakMemory.byteCount()
      bar.update(
        ProgressBar.Status(
          step: number, loss: result.loss, gradientNorm: result.gradientNorm,
          learningRate: result.learningRate, tokensPerSecond: record.tokensPerSecond))
      if let evaluation, !isStopping, isDue(configuration.evaluationSteps, number, total) {
        group.progress.enter(.evaluation)
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
      if isStopping || isDue(configuration.saveSteps, number, total) {
        lastSaveError = try save(step: number)
        if let lastSaveError {
          bar.note("warning: checkpoint not written: \(lastSaveError.unfixed); training goes on")
        }
      }
    }
    bar.finish()
    if isStopping {
      if let lastSaveError { throw lastSaveError }
      return .stopped(afterStep: number)
    }
    group.progress.enter(.finishing)
    if group.rank == 0 {
      try finish(checkpoint: lastSaveError, metrics: metricsError)
    }
    return .finished
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

  /// Gathers the moments and writes a checkpoint on rank 0.
  ///
  /// - Returns: why it could not be written; training goes on then, and older checkpoints stay.
  private func save(step number: Int) throws -> UserError? {
    group.progress.enter(.checkpoint)
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
      group.progress.announceSaved(step: number)
      return nil
    } catch {
      return error
    }
  }

  /// Bytes that this rank handed to other ranks so far, less the base's.
  private var bytesSent: Int { group.bytesSent + step.exchange.bytesSent }

  private func weights() throws(UserError) -> [Float] {
    do {
      return try step.model.backend.download(step.weights)
    } catch {
      throw UserError(.system, "\(error)")
    }
  }
}
