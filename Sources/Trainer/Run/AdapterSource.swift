internal import Compute
internal import Model
internal import Support

/// Adapter weights to begin with: fresh, or from a PEFT directory.
struct AdapterSource {
  let layout: AdapterLayout
  /// Of the PEFT directory, until they are taken; nil for a fresh adapter.
  private var fileValues: [Float]?
  private let seed: UInt64

  /// - Parameters:
  ///   - configuration: of `train`.
  ///   - base: that the adapter goes on.
  /// - Throws: ``UserError`` when the adapter does not fit, or a flag contradicts its settings.
  init(_ configuration: TrainConfiguration, base: LoadedBase.Description) throws(UserError) {
    seed = UInt64(bitPattern: Int64(configuration.seed))
    if let directory = configuration.initialAdapter {
      let file = try AdapterFile(
        directory: directory, configuration: base.configuration, base: base.loader.source)
      try Self.checkFlags(configuration, file.settings, directory)
      var settings = file.settings
      if configuration.givenLoRAFlags.contains("lora-dropout") {
        settings.dropout = Float(configuration.loraDropout)
      }
      layout = AdapterLayout(base.configuration, settings)
      fileValues = file.values
      return
    }
    layout = AdapterLayout(
      base.configuration, try Self.settings(configuration, base.configuration))
  }

  /// The adapters' settings by the flags alone.
  static func settings(_ configuration: TrainConfiguration, _ model: ModelConfiguration)
    throws(UserError) -> LoRASettings
  {
    var targets = Set(configuration.loraTargets)
    // Dense models have no router, and its flag is accepted without effect.
    if !model.isMixture { targets.remove(.router) }
    guard !targets.isEmpty else {
      throw UserError(
        .usage, at: "--lora-targets", "the model has none of the matrices named",
        fix: "name some of q, k, v, o, w1, w2, w3")
    }
    return LoRASettings(
      loraRank: configuration.loraRank, alpha: configuration.loraAlpha,
      dropout: Float(configuration.loraDropout),
      isRankStabilized: configuration.usesRankStabilizedScaling, targets: targets)
  }

  /// Bytes that are held already.
  var heldByteCount: Int { 4 * (fileValues?.count ?? 0) }

  /// Makes the values, or hands those of the file over, so that they are held once.
  mutating func takeValues() -> [Float] {
    defer { fileValues = nil }
    return fileValues ?? layout.initialValues(seed: seed)
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
