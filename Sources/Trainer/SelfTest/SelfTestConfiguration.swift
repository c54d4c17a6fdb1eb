package import Support

/// Every setting of `test`, checked.
package struct SelfTestConfiguration: Sendable, Equatable {
  package var device: ModelOptions.Device
  /// 0: as many as the environment says.
  package var threads: Int
  package var seed: Int
  /// Fewer models and smaller transfers.
  package var isQuick: Bool
  /// Whether operations and transfers are timed.
  package var measuresSpeed: Bool
  /// Part of the names of the checks that are run; nil for all.
  package var only: String?
  /// Where results are kept besides; nil keeps none.
  package var jsonPath: String?

  package init(
    device: ModelOptions.Device = .auto, threads: Int = 0, seed: Int = 42, isQuick: Bool = false,
    measuresSpeed: Bool = true, only: String? = nil, jsonPath: String? = nil
  ) {
    self.device = device
    self.threads = threads
    self.seed = seed
    self.isQuick = isQuick
    self.measuresSpeed = measuresSpeed
    self.only = only
    self.jsonPath = jsonPath
  }

  /// Takes the settings.
  package init(_ options: ParsedOptions) {
    self.init(
      device: options.choice("device", as: ModelOptions.Device.self),
      threads: options.integer("threads"), seed: options.integer("seed"),
      isQuick: options.flag("quick"), measuresSpeed: !options.flag("no-speed"),
      only: options.textIfAny("only"), jsonPath: options.textIfAny("json"))
  }

  /// The flags of `test`.
  package static let parser = CommandLineParser(
    command: "accelerate-swift test",
    summary: "Proves the arithmetic on this machine, and after `launch` on several ranks or hosts: "
      + "prints OK, FAIL or SKIP for each check, and ends with 1 when one fails.",
    groups: [
      OptionGroup(
        "Checks",
        [
          Option(
            "quick", .toggle, "Leaves out bf16, the dense model and large transfers."),
          Option("no-speed", .toggle, "Leaves out how fast operations and transfers are."),
          Option(
            "only", .text(placeholder: "TEXT"), defaultText: "all",
            "Runs only checks whose names hold this text."),
          Option(
            "json", .path, defaultText: "none",
            "File for the results: checks, and with --device cuda times of operations."),
          Option(
            "seed", .integer(0...Int.max), default: .integer(42),
            "Seed of the adapters, the dropout and the dense model."),
        ] + ModelOptions.machineOptions.filter { ["device", "threads"].contains($0.name) }
          + [CommandLineParser.configurationOption])
    ])

  /// The settings of a backend for this device.
  func modelOptions(isBFloat16: Bool, threads: Int?) throws(UserError) -> ModelOptions {
    guard case .options(let options) = try TrainConfiguration.parser.parse([]) else {
      preconditionFailure("no arguments ask for no help")
    }
    var model = try ModelOptions(options)
    model.device = device
    model.threads = threads ?? self.threads
    model.mixedPrecision = isBFloat16 ? .bf16 : .no
    return model
  }
}
