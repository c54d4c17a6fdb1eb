package import Support

/// Every setting of `data`, checked.
package struct DataConfiguration: Sendable, Equatable {
  package var model: String?
  package var samples: SampleOptions
  package var trainOn: TrainConfiguration.TrainOn
  /// Lengths to look at; nil: powers of two and quantiles.
  package var candidates: [Int]?
  /// Whether `--max-length` was given, so that it is a candidate.
  package var givesMaxLength: Bool
  package var packing: TrainConfiguration.Packing?
  package var packsPerStep: Int
  /// Samples that are shown.
  package var shownCount: Int
  /// Where the histogram goes.
  package var svg: String?

  /// The flags of `data`: those of `train` that decide what is trained, and what to show.
  package static let parser = CommandLineParser(
    command: "accelerate-swift data",
    summary: "Looks at data before a run: rows, tokens, lengths, what each --max-length would cut, "
      + "and samples with the trained tokens marked.",
    groups: [
      OptionGroup(
        "Model and data",
        [ModelOptions.modelOption] + sampleOptions),
      OptionGroup(
        "What to show",
        [
          Option(
            "candidates", .list(placeholder: "LIST"), defaultText: "powers of two and quantiles",
            "Values of --max-length to look at, separated by commas."),
          Option(
            "show", .integer(0...10_000), default: .integer(3), "Samples that are shown."),
          Option("svg", .path, defaultText: "none", "SVG file for the histogram of lengths."),
          CommandLineParser.configurationOption,
        ]),
    ])

  private static let sampleOptions: [Option] = {
    let names: Set = [
      "data", "prompt", "completion", "chat-template", "template-date", "train-on", "max-length",
      "overlength", "cache", "no-cache",
      "pack-tokens", "samples-per-pack", "packs-per-step",
    ]
    return TrainConfiguration.parser.groups.flatMap(\.options).filter { names.contains($0.name) }
  }()

  package init(_ options: ParsedOptions) throws(UserError) {
    model = options.textIfAny("model")
    samples = try SampleOptions(options)
    trainOn = options.choice("train-on", as: TrainConfiguration.TrainOn.self)
    givesMaxLength = options.isGiven("max-length")
    packsPerStep = options.integer("packs-per-step")
    packing = nil
    if options.isGiven("pack-tokens") || options.integerIfAny("samples-per-pack") != nil {
      packing = try TrainConfiguration.packing(options)
    }
    shownCount = options.integer("show")
    svg = options.textIfAny("svg")
    candidates = nil
    if options.isGiven("candidates") {
      var lengths: [Int] = []
      for word in options.list("candidates") {
        guard let length = Int(word), (2...1 << 24).contains(length) else {
          throw options.error(
            "candidates", "\"\(word.prefix(40))\" is not a length from 2 to \(1 << 24)",
            fix: "write --candidates 256,512,1024")
        }
        lengths.append(length)
      }
      candidates = Array(Set(lengths)).sorted()
    }
    if !options.isGiven("data") && options.isGiven("model") {
      throw options.error(
        "model", "given without --data", fix: "add --data, or leave --model out for the demo's data"
      )
    }
  }
}
