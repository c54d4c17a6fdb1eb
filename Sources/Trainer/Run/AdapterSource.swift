internal import Compute
internal import Model
internal import Support

/// Adapter weights to begin with: fresh, or from a PEFT directory.
struct AdapterSource {
  let layout: AdapterLayout
  let values: [Float]

  /// - Parameters:
  ///   - configuration: of `train`.
  ///   - base: that the adapter goes on.
  /// - Throws: ``UserError`` when the adapter does not fit, or a flag contradicts its settings.
  init(_ configuration: TrainConfiguration, base: LoadedBase) throws(UserError) {
    if let directory = configuration.initialAdapter {
      let file = try AdapterFile(
        directory: directory, configuration: base.configuration, base: base.files)
      try Self.checkFlags(configuration, file.settings, directory)
      var settings = file.settings
      if configuration.givenLoRAFlags.contains("lora-dropout") {
        settings.dropout = Float(configuration.loraDropout)
      }
      layout = AdapterLayout(base.configuration, settings)
      values = file.values
      return
    }
    var targets = Set(configuration.loraTargets)
    // Dense models have no router, and its flag is accepted without effect.
    if !base.configuration.isMixture { targets.remove(.router) }
    guard !targets.isEmpty else {
      throw UserError(
        .usage, at: "--lora-targets", "the model has none of the matrices named",
        fix: "name some of q, k, v, o, w1, w2, w3")
    }
    layout = AdapterLayout(
      base.configuration,
      LoRASettings(
        loraRank: configuration.loraRank, alpha: configuration.loraAlpha,
        dropout: Float(configuration.loraDropout),
        isRankStabilized: configuration.usesRankStabilizedScaling, targets: targets))
    values = layout.initialValues(seed: UInt64(bitPattern: Int64(configuration.seed)))
  }

  /// The settings as used: an adapter to begin with brings its own, and dense models have no router.
  func settings(of configuration: TrainConfiguration) -> TrainConfiguration {
    let settings = layout.settings
    var used = configuration
    used.loraRank = settings.loraRank
    used.loraAlpha = settings.alpha
    // The shortest decimal that is this float32.
    used.loraDropout = Double("\(settings.dropout)") ?? Double(settings.dropout)
    used.usesRankStabilizedScaling = settings.isRankStabilized
    used.loraTargets = LoRATarget.allCases.filter(settings.targets.contains)
    return used
  }

  /// Flags the user gave must agree with the adapter that the run begins with.
  private static func checkFlags(
    _ configuration: TrainConfiguration, _ settings: LoRASettings, _ directory: String
  ) throws(UserError) {
    let given = Set(configuration.loraTargets)
    let checks: [(flag: String, isEqual: Bool, value: String)] = [
      ("lora-r", configuration.loraRank == settings.loraRank, "\(settings.loraRank)"),
      ("lora-alpha", configuration.loraAlpha == settings.alpha, "\(settings.alpha)"),
      (
        "rslora", configuration.usesRankStabilizedScaling == settings.isRankStabilized,
        "\(settings.isRankStabilized)"
      ),
      (
        "lora-targets", given == settings.targets,
        LoRATarget.allCases.filter(settings.targets.contains).map(\.rawValue).joined(separator: ",")
      ),
    ]
    for check in checks
    where configuration.givenLoRAFlags.contains(check.flag) && !check.isEqual {
      throw UserError(
        .usage, at: "--\(check.flag)",
        "differs from the adapter in --init-adapter \(directory), which has \(check.value)",
        fix: "leave --\(check.flag) out; the adapter's own settings are used")
    }
  }
}
