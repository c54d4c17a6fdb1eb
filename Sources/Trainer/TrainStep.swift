package import Compute
package import DistributedTraining
package import Model
package import Optim
internal import Support

/// The packs of one optimizer step, the same on every rank.
package struct StepPlan: Sendable, Equatable {
  /// 1-based.
  package var step: Int
  /// Packs over all ranks.
  package var packCount: Int
  /// Tokens with a loss, over all ranks.
  package var targetTokens: Int
  /// Tokens over all ranks.
  package var tokens: Int

  package init(step: Int, packCount: Int, targetTokens: Int, tokens: Int) {
    self.step = step
    self.packCount = packCount
    self.targetTokens = targetTokens
    self.tokens = tokens
  }
}

/// What a step computed, the same on every rank.
package struct StepMetrics: Sendable, Equatable {
  /// Nats per target token.
  package var loss: Double
  /// Mean over the packs, without its coefficient; 0 for dense models.
  package var routerLoss: Double
  /// Before clipping.
  package var gradientNorm: Double
  package var learningRate: Double
}

/// One optimizer step over all ranks. Read this file first: everything else hangs on it.
package struct TrainStep {
  let model: CausalLM
  let weights: Tensor
  let group: any ProcessGroup
  let exchange: GradientExchange
  let optimizer: AdamW
  let schedule: LearningRateSchedule
  let maximumGradientNorm: Double
  let routerLossCoefficient: Double
  let dropout: (seed: UInt64, rate: Float)
  let retention: CausalLM.Retention

  /// - Parameters:
  ///   - model: with the adapters that are trained.
  ///   - weights: `[1, elements]`, the adapters' flat vector that the model reads.
  ///   - group: the ranks.
  ///   - exchange: of gradients and weights.
  ///   - optimizer: over this rank's slice of the weights.
  ///   - schedule: of the learning rate.
  ///   - maximumGradientNorm: gradients are clipped to it; zero never clips.
  ///   - routerLossCoefficient: factor of the mean router loss.
  ///   - dropout: seed and rate of the adapters' dropout.
  ///   - retention: what a forward pass keeps.
  package init(
    model: CausalLM, weights: Tensor, group: any ProcessGroup, exchange: GradientExchange,
    optimizer: AdamW, schedule: LearningRateSchedule, maximumGradientNorm: Double,
    routerLossCoefficient: Double, dropout: (seed: UInt64, rate: Float),
    retention: CausalLM.Retention
  ) {
    self.model = model
    self.weights = weights
    self.group = group
    self.exchange = exchange
    self.optimizer = optimizer
    self.schedule = schedule
    self.maximumGradientNorm = maximumGradientNorm
    self.routerLossCoefficient = routerLossCoefficient
    self.dropout = dropout
    self.retention = retention
  }

  /// Runs one step.
  ///
  /// - Parameters:
  ///   - plan: of the step; its packs were fixed before ranks were known.
  ///   - packs: this rank's contiguous run of them, possibly empty.
  /// - Returns: the metrics.
  /// - Throws: as ``run(_:packs:times:)``.
  package func run(_ plan: StepPlan, packs: [PackInput]) throws -> StepMetrics {
    var times = StepTimes()
    return try run(plan, packs: packs, times: &times)
  }

  /// Runs one step and measures its parts.
  ///
  /// - Parameters:
  ///   - plan: of the step; its packs were fixed before ranks were known.
  ///   - packs: this rank's contiguous run of them, possibly empty.
  ///   - times: what the parts take is added.
  /// - Returns: the metrics.
  /// - Throws: ``UserError`` of kind `notFinite` before the update when the loss or the norm is no
  ///   finite number on any rank; errors of the device and of the network.
  package func run(_ plan: StepPlan, packs: [PackInput], times: inout StepTimes) throws
    -> StepMetrics
  {
    let run = PackRuns.run(
      ofRank: group.rank, packCount: plan.packCount, worldSize: group.worldSize)
    precondition(packs.count == run.count, "\(packs.count) packs for \(run.count)")

    // 1. Forward and backward of each pack. The loss is a sum over all target tokens of the step
    //    divided by their number: one divisor on every rank, known beforehand, never a mean of means.
    //    Gradients of the last pack travel layer by layer while its backward goes on.
    let gradientScale = Float(1 / Double(plan.targetTokens))
    let routerLossScale = routerLossCoefficient / Double(plan.packCount)
    let key = DropoutKey(
      seed: dropout.seed, step: plan.step, layer: 0, input: 0, rate: dropout.rate)
    var losses: [Double] = []
    var routerLosses: [Double] = []
    try exchange.begin(packCount: plan.packCount)
    let passes = (plan.packCount + group.worldSize - 1) / group.worldSize
    for turn in 0..<passes {
      // Ranks with fewer packs take part in gathering the base all the same.
      guard turn < packs.count else {
        try model.skipPass(isTraining: true)
        continue
      }
      let gradients = try exchange.makeGradients()
      let (pass, loss) = try times.measure(.forward) {
        let pass = try model.forward(packs[turn], dropout: key, retention: retention)
        return (
          pass, try model.loss(pass, gradientScale: gradientScale, gradients: gradients).lossSum
        )
      }
      losses.append(loss)
      try times.measure(.backward) {
        try model.backward(pass, routerLossScale: routerLossScale, gradients: gradients) { layer in
          try exchange.finish(from: layer)
        }
        routerLosses.append(try model.routerLoss(pass))
        try model.backend.synchronize()
      }
    }

    // 2. Each rank gets its slice of the sum of all gradients; scalars are added in the order of
    //    packs and blocks, so that the result is the same for any number of ranks.
    let counts = (0..<group.worldSize).map {
      PackRuns.run(ofRank: $0, packCount: plan.packCount, worldSize: group.worldSize).count
    }
    let (gradients, metrics) = try times.measure(.exchange) {
      let gradients = try exchange.sum()
      let lossSum = try group.allGather(losses, counts: counts).reduce(0, +)
      let routerLossSum = try group.allGather(routerLosses, counts: counts).reduce(0, +)
      let squares = try exchange.sumOfSquares(gradients)
      return (
        gradients,
        StepMetrics(
          loss: lossSum / Double(plan.targetTokens),
          routerLoss: routerLossSum / Double(plan.packCount), gradientNorm: squares.squareRoot(),
          learningRate: schedule.rate(step: plan.step))
      )
    }

    // 3. Every rank has the same numbers, so that all of them stop here or none.
    guard metrics.loss.isFinite, metrics.routerLoss.isFinite, metrics.gradientNorm.isFinite else {
      throw UserError(
        .notFinite, at: "step \(plan.step)",
        "loss \(metrics.loss), gradient norm \(metrics.gradientNorm): not finite; "
          + "the step was not applied",
        fix: "lower --lr or raise --warmup-steps, and look at the rows of this step")
    }

    // 4. Clip, update the own slice, gather the new weights.
    let update = optimizer.update(
      step: plan.step, learningRate: metrics.learningRate,
      gradientScale: GradientClipping.scale(
        norm: metrics.gradientNorm, maximum: maximumGradientNorm))
    try times.measure(.optimizer) {
      for (piece, gradient) in zip(exchange.slices.pieces(ofRank: group.rank), gradients) {
        try optimizer.apply(
          update, weights: weights.elements(piece.elements), gradients: gradient,
          range: piece.inSlice, backend: model.backend)
      }
      try model.backend.synchronize()
    }
    try times.measure(.exchange) { try exchange.gatherWeights(weights) }
    return metrics
  }
}
