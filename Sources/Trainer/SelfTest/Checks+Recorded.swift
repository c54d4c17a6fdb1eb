internal import DistributedTraining
internal import Model

extension SelfTestCheck {
  /// Four steps of the demo model against the same steps in double precision, computed by
  /// transformers and peft with `scripts/selftest/record.py`.
  static let recordedLosses = SelfTestCheck("recorded losses") { stage in
    var trial = Trial(.float32, stage)
    trial.steps = recorded.count
    trial.packsPerStep = 2
    trial.samplesPerPack = 4
    trial.sampleCount = 16
    trial.shuffles = false
    trial.seed = 42
    trial.weightDecay = 0
    trial.learningRate = 1e-3
    trial.lora = LoRASettings(
      loraRank: 8, alpha: 16,
      targets: [.query, .key, .value, .output, .w1, .w2, .w3])
    let result = try trial.result(on: SoloGroup(), stage)
    var (loss, norm) = (0.0, 0.0)
    for (ours, theirs) in zip(result.metrics, recorded) {
      loss = max(loss, RelativeDifference.of(ours.loss, theirs.loss))
      loss = max(loss, RelativeDifference.of(ours.routerLoss, theirs.routerLoss))
      norm = max(norm, RelativeDifference.of(ours.gradientNorm, theirs.gradientNorm))
    }
    return SelfTestOutcome(
      loss < 1e-5 && norm < 1e-4,
      "\(recorded.count) steps of 8 rows against transformers and peft in double precision: losses "
        + "differ by \(RelativeDifference.text(loss)), norms by \(RelativeDifference.text(norm))")
  }

  private static let recorded: [(loss: Double, routerLoss: Double, gradientNorm: Double)] = [
    (6.090416261840, 2.043237272991, 0.964326955624),
    (5.492037338280, 2.019277852385, 0.971601017948),
    (5.800429019066, 2.043845754230, 1.034457522256),
    (5.235857061585, 2.018803169317, 1.151648502301),
  ]
}
