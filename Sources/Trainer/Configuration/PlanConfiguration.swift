package import Support

/// Every setting of `plan`, checked: those of `train`, and the machines.
package struct PlanConfiguration: Sendable, Equatable {
  package var train: TrainConfiguration
  package var ranks: Int
  package var ranksPerHost: Int
  /// Bytes of a host, or of a GPU; nil: what is free here.
  package var memoryByteCount: Int?

  /// The flags of `plan`.
  package static let parser = CommandLineParser(
    command: "accelerate-swift plan",
    summary: "Memory of each rank and bytes moved per step of a run of `train` with these flags, "
      + "before anything is loaded; which settings fit and which do not.",
    groups: [
      OptionGroup(
        "Machines",
        [
          Option("ranks", .integer(1...1 << 16), default: .integer(1), "Processes of the run."),
          Option(
            "ranks-per-host", .integer(1...1 << 16), defaultText: "all on one host",
            "Processes on each host."),
          Option(
            "memory", .number(.positive), defaultText: "what is free here",
            "GB of each host, or of each GPU, that the run may take."),
        ])
    ]
      + TrainConfiguration.parser.groups.map { group in
        var group = group
        for index in group.options.indices where group.options[index].name == "model" {
          group.options[index].help =
            "Directory of the base model in Hugging Face layout, or its config.json alone, also "
            + "after synthetic:."
        }
        return group
      })

  package init(_ options: ParsedOptions) throws(UserError) {
    train = try TrainConfiguration(options, isComplete: false)
    ranks = options.integer("ranks")
    let perHost = options.integerIfAny("ranks-per-host")
    ranksPerHost = min(perHost ?? ranks, ranks)
    memoryByteCount = options.numberIfAny("memory").map { Int(min($0, 1e9) * 1e9) }
    if let perHost, ranks % min(perHost, ranks) != 0 {
      throw options.error(
        "ranks-per-host", "\(perHost), but --ranks \(ranks) is no multiple of it",
        fix: "plan for hosts with as many processes each")
    }
  }
}
