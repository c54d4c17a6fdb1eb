internal import Data
internal import Model
package import Support

extension TrainConfiguration {
  /// Takes the settings and checks how they go together.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - isComplete: whether a run follows, which needs data with its model.
  /// - Throws: ``UserError``.
  package init(_ options: ParsedOptions, isComplete: Bool = true) throws(UserError) {
    base = try ModelOptions(options)
    trainOn = options.choice("train-on", as: TrainOn.self)
    samples = try SampleOptions(options)
    evaluationData = options.textIfAny("eval-data")
    holdOut = options.textIfAny("holdout")
    heldOutRows = try HoldOut(holdOut, options)
    output = options.textIfAny("output")
    resumes = options.flag("resume")

    packing = try Self.packing(options)
    packsPerStep = options.integer("packs-per-step")
    shuffles = !options.flag("no-shuffle")
    seed = options.integer("seed")
    epochs = options.integerIfAny("epochs")
    maxSteps = options.integerIfAny("max-steps")
    if maxSteps == nil && epochs == nil { epochs = 1 }

    learningRate = options.number("lr")
    scheduler = options.choice("lr-scheduler", as: Scheduler.self)
    // The demo's default belongs to its own number of steps.
    warmupSteps =
      options.isGiven("warmup-steps")
      ? options.integer("warmup-steps")
      : min(options.integer("warmup-steps"), (maxSteps ?? .max) / 10)
    weightDecay = options.number("weight-decay")
    adamBeta1 = options.number("adam-beta1")
    adamBeta2 = options.number("adam-beta2")
    adamEpsilon = options.number("adam-eps")
    maxGradientNorm = options.number("max-grad-norm")
    routerLossCoefficient = options.numberIfAny("router-aux-loss-coef")

    loraRank = options.integer("lora-r")
    loraAlpha = options.number("lora-alpha")
    loraDropout = options.number("lora-dropout")
    loraTargets = try LoRATargets.parse(options.list("lora-targets"), options)
    usesRankStabilizedScaling = options.flag("rslora")
    initialAdapter = options.textIfAny("init-adapter")
    givenLoRAFlags = Set(
      ["lora-r", "lora-alpha", "lora-dropout", "lora-targets", "rslora"].filter(options.isGiven))

    gradientCheckpointing = options.choice(
      "gradient-checkpointing", as: GradientCheckpointing.self)
    evaluationSteps = options.integer("eval-steps")
    saveSteps = options.integer("save-steps")
    loggingSteps = options.integer("logging-steps")
    keepCheckpoints = options.integer("keep-checkpoints")
    if isComplete { try checkCombinations(options) }
  }

  static func packing(_ options: ParsedOptions) throws(UserError) -> Packing {
    let maxLength = options.integer("max-length")
    let tokens = options.integerIfAny("pack-tokens")
    if let samples = options.integerIfAny("samples-per-pack") {
      guard tokens == nil else {
        throw options.error(
          "samples-per-pack", "given together with --pack-tokens; packs are formed by one of them",
          fix: "leave one of the two out")
      }
      return .samples(samples)
    }
    guard let tokens else { return .tokens(max(2048, maxLength)) }
    guard tokens >= maxLength else {
      throw options.error(
        "pack-tokens",
        "\(tokens), but --max-length allows samples of \(maxLength) tokens and a pack holds whole samples",
        fix: "give --pack-tokens \(maxLength) or more, or --max-length \(tokens) or less")
    }
    return .tokens(tokens)
  }

  private func checkCombinations(_ options: ParsedOptions) throws(UserError) {
    try checkModelAndData(options)
    for name in ["eval-data", "holdout"] where options.isGiven(name) && samples.data.isEmpty {
      throw options.error(
        name, "given without --data; the embedded demo has its own held-out samples",
        fix: "add --model and --data, or leave --\(name) out")
    }
    if evaluationData != nil && holdOut != nil {
      throw options.error(
        "holdout", "given together with --eval-data; the evaluation loss is of one of them",
        fix: "leave one of the two out")
    }
    if evaluationSteps > 0, !samples.data.isEmpty, evaluationData == nil, holdOut == nil {
      throw options.error(
        "eval-steps", "\(evaluationSteps), but there is nothing to evaluate on",
        fix: "add --eval-data or --holdout, or leave --eval-steps out")
    }
    if resumes && output == nil {
      throw options.error(
        "resume", "continues the run in --output, but --output is missing",
        fix: "add --output with the directory of that run")
    }
    if let maxSteps, warmupSteps > maxSteps {
      throw options.error(
        "warmup-steps", "\(warmupSteps), but --max-steps ends the run after \(maxSteps)",
        fix: "give --warmup-steps \(maxSteps) or less")
    }
  }

  /// `run.yaml`: every setting as used, in the form that `--config` reads.
  ///
  /// `--resume` and `--config` belong to a start, not to a run, and are left out.
  package var yamlText: String {
    var text = "# Settings of a run of accelerate-swift \(programVersion); read back by --config.\n"
    for (name, value) in settings { text += YAMLWriter.line(name, value) }
    return text
  }

  var settings: [(name: String, value: JSONValue)] {
    var packTokens: Int?
    var samplesPerPack: Int?
    switch packing {
    case .tokens(let count): packTokens = count
    case .samples(let count): samplesPerPack = count
    }
    return base.settings + samples.settings + [
      ("eval-data", .init(evaluationData)),
      ("holdout", .init(holdOut)),
      ("train-on", .string(trainOn.rawValue)),
      ("pack-tokens", .init(packTokens)),
      ("samples-per-pack", .init(samplesPerPack)),
      ("packs-per-step", .integer(packsPerStep)),
      ("no-shuffle", .bool(!shuffles)),
      ("seed", .integer(seed)),
      ("epochs", .init(epochs)),
      ("max-steps", .init(maxSteps)),
      ("lr", .double(learningRate)),
      ("lr-scheduler", .string(scheduler.rawValue)),
      ("warmup-steps", .integer(warmupSteps)),
      ("weight-decay", .double(weightDecay)),
      ("adam-beta1", .double(adamBeta1)),
      ("adam-beta2", .double(adamBeta2)),
      ("adam-eps", .double(adamEpsilon)),
      ("max-grad-norm", .double(maxGradientNorm)),
      ("router-aux-loss-coef", .init(routerLossCoefficient)),
      ("lora-r", .integer(loraRank)),
      ("lora-alpha", .double(loraAlpha)),
      ("lora-dropout", .double(loraDropout)),
      ("lora-targets", .array(loraTargets.map { .string($0.rawValue) })),
      ("rslora", .bool(usesRankStabilizedScaling)),
      ("init-adapter", .init(initialAdapter)),
      ("gradient-checkpointing", .string(gradientCheckpointing.rawValue)),
      ("output", .init(output)),
      ("eval-steps", .integer(evaluationSteps)),
      ("save-steps", .integer(saveSteps)),
      ("logging-steps", .integer(loggingSteps)),
      ("keep-checkpoints", .integer(keepCheckpoints)),
    ]
  }
}

extension HoldOut {
  /// The value of `--holdout`: a number with a point is a part, one without is a count.
  init?(_ text: String?, _ options: ParsedOptions) throws(UserError) {
    guard let text else { return nil }
    let isDecimal = text.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
    if isDecimal, let count = Int(text), count > 0 {
      self = .count(count)
    } else if isDecimal, text.contains("."), let part = Double(text), part > 0, part < 1 {
      self = .fraction(part)
    } else {
      throw options.error(
        "holdout", "\"\(text.prefix(80))\" is neither a part between 0 and 1 nor a number of rows",
        fix: "write --holdout 0.05 for a twentieth of the rows, or --holdout 200 for 200 rows")
    }
  }
}
