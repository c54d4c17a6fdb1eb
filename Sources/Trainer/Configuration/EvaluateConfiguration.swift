package import Support

/// Every setting of `evaluate`, checked.
package struct EvaluateConfiguration: Sendable, Equatable {
  package var base: ModelOptions
  package var samples: SampleOptions
  /// A PEFT adapter directory; nil: the base alone.
  package var adapter: String?
  /// Longest answer that is generated for the exact match; 0: none is.
  package var maxNewTokens: Int
  /// Only the first rows; nil: all.
  package var limit: Int?

  /// The flags of `evaluate`.
  package static let parser = CommandLineParser(
    command: "accelerate-swift evaluate",
    summary: "Loss, perplexity and exact match of a base model and its adapter on held-out data, "
      + "side by side.",
    groups: [
      OptionGroup(
        "Model and data",
        [ModelOptions.modelOption, adapterOption, SampleOptions.dataOption]
          + SampleOptions.templateOptions + SampleOptions.lengthOptions
          + SampleOptions.cacheOptions + [
            Option(
              "max-new-tokens", .integer(0...1 << 20), default: .integer(64),
              "Longest answer generated for the exact match; 0 leaves it out."),
            Option(
              "limit", .integer(1...Int.max), defaultText: "all",
              "Evaluates the first rows of each file only."),
          ]),
      OptionGroup(
        "Memory and speed",
        ModelOptions.storageOptions + ModelOptions.machineOptions
          + [CommandLineParser.configurationOption]),
    ])

  static let adapterOption = Option(
    "adapter", .path, defaultText: "none, the base alone", "Directory of a PEFT adapter.")

  package init(_ options: ParsedOptions) throws(UserError) {
    base = try ModelOptions(options)
    samples = try SampleOptions(options)
    adapter = options.textIfAny("adapter")
    maxNewTokens = options.integer("max-new-tokens")
    limit = options.integerIfAny("limit")
    try checkModelAndData(options)
  }
}
