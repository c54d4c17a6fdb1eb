import Support
import TestSupport
import Testing

/// Runs of real size take what their plan says. One after the other: each takes hundreds of
/// megabytes.
@Suite(.serialized) struct MemoryTruthTests {
  struct Case: CustomTestStringConvertible {
    var isMixture: Bool
    var ranks: Int
    var flags: String

    var testDescription: String { "\(isMixture ? "mixture" : "dense") \(ranks) \(flags)" }
  }

  static let cases = [
    Case(isMixture: false, ranks: 1, flags: "--gradient-checkpointing off"),
    Case(isMixture: false, ranks: 1, flags: "--quant nf4 --gradient-checkpointing on"),
    Case(isMixture: false, ranks: 2, flags: "--shard full --gradient-checkpointing off"),
    Case(isMixture: false, ranks: 2, flags: "--quant nf4 --shard none --gradient-checkpointing on"),
    Case(isMixture: true, ranks: 1, flags: "--gradient-checkpointing on"),
    Case(
      isMixture: true, ranks: 1,
      flags: "--quant nf4 --double-quant --mixed-precision bf16 --gradient-checkpointing off"),
    Case(isMixture: true, ranks: 2, flags: "--quant nf4 --shard full --gradient-checkpointing on"),
    Case(isMixture: true, ranks: 2, flags: "--shard none --gradient-checkpointing off"),
  ]

  /// Written once for all cases.
  private static let models: Result<Folder, any Error> = Result {
    let folder = try Folder()
    try SyntheticModel.dense.write("\(folder.path)/dense", rows: 4, rowLength: 512)
    try SyntheticModel.mixture.write("\(folder.path)/mixture", rows: 4, rowLength: 512)
    return folder
  }

  /// The number of megabytes that follows `label` in a log.
  private func megabytes(_ label: String, in text: String) throws -> Double {
    let rest = try #require(text.firstRange(of: label), "\(label) is not in \(text)")
    let words = text[rest.upperBound...].split(separator: " ", maxSplits: 2)
    let factor = words[1].hasPrefix("GB") ? 1000.0 : 1
    return try #require(Double(words[0])) * factor
  }

  @Test(arguments: cases) func thePeakIsWhatWasPlanned(_ run: Case) throws {
    let folder = try Self.models.get()
    let output = try Folder()
    let model = "\(folder.path)/\(run.isMixture ? "mixture" : "dense")"
    let flags = run.flags.split(separator: " ").map(String.init)
    let result = try ProgramRun(
      (run.ranks > 1 ? ["launch", "--nproc", "\(run.ranks)"] : []) + [
        "train", "--model", model, "--data", "\(model)/data.jsonl", "--train-on", "all",
        "--pack-tokens", "512", "--max-length", "512", "--packs-per-step", "2", "--max-steps", "1",
        "--output", "\(output.path)/run",
      ] + flags,
      environment: ["ACCELERATE_THREADS": "1", "XDG_CACHE_HOME": output.path])
    try #require(result.exitCode == 0, "\(result.errors)")
    let measured = try megabytes("peak memory per rank: ", in: result.errors)
    let planned = try megabytes(", planned ", in: result.errors)
    print("\(run.testDescription): measured \(measured) MB, planned \(planned) MB")
    #expect(measured > 100)
    #expect(abs(measured / planned - 1) <= 0.05, "\(measured) MB, planned \(planned) MB")
  }

  /// The bytes that ranks send are those of the plan.
  @Test func trafficIsWhatWasPlanned() throws {
    let folder = try Self.models.get()
    let output = try Folder()
    let model = "\(folder.path)/dense"
    let flags = [
      "--model", model, "--pack-tokens", "512", "--max-length", "512", "--packs-per-step", "3",
      "--shard", "none", "--lora-targets", "q,v",
    ]
    let run = try ProgramRun(
      ["launch", "--nproc", "2", "train", "--data", "\(model)/data.jsonl", "--max-steps", "1"]
        + ["--output", "\(output.path)/run"] + flags,
      environment: ["ACCELERATE_THREADS": "1", "XDG_CACHE_HOME": output.path])
    try #require(run.exitCode == 0, "\(run.errors)")
    let record = try JSONParser.parse(
      FileSystem.readText("\(output.path)/run/metrics.jsonl").split(separator: "\n").map(
        String.init)[0])
    let sent = try #require(record["bytes_sent"]?.doubleValue)
    let plan = try ProgramRun(["plan", "--ranks", "2"] + flags)
    let lines = plan.outputLines.filter { $0.hasPrefix("  total") }
    let words = try #require(lines.last).split(separator: " ")
    let planned = try #require(Double(words[3])) * 1e6
    #expect(abs(sent / planned - 1) <= 0.02, "\(sent) bytes, planned \(planned)")
  }

  @Test func aRunThatCannotFitIsRefusedBeforeItStarts() throws {
    let folder = try Self.models.get()
    let output = try Folder()
    let run = try ProgramRun(
      [
        "train", "--model", "\(folder.path)/dense", "--data", "\(folder.path)/dense/data.jsonl",
        "--lora-r", "60000", "--output", "\(output.path)/run",
      ], environment: ["ACCELERATE_THREADS": "1"])
    #expect(run.exitCode == ExitCode.usage)
    for word in ["the run does not fit", "Adam moments", "does not fit", "fix: "] {
      #expect(run.errors.contains(word), "\(word) is not in \(run.errors)")
    }
    #expect(!FileSystem.exists("\(output.path)/run"))
  }
}
