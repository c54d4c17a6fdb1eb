import Support
import TestSupport
import Testing

/// Random weights and random rows in place of files: any number of ranks gives the same bits.
@Suite(.timeLimit(.minutes(5))) struct SyntheticTests {
  private func place() throws -> (Workplace, model: String) {
    let place = try Workplace()
    let tiny = TinyModel(isMixture: true)
    try tiny.write(place("model"))
    try FileSystem.write(
      FileSystem.readBytes(place("model/config.json")), to: place("config.json"))
    try FileSystem.remove(place("model"))
    return (place, "synthetic:" + place("config.json"))
  }

  @Test func ranksAndShards() throws {
    let (place, model) = try place()
    func train(_ name: String, ranks: Int, _ flags: [String] = []) throws -> RunResult {
      let run = try place.run(
        ranks: ranks,
        [
          "train", "--model", model, "--data", "synthetic:8x32", "--pack-tokens", "32",
          "--max-length", "32", "--packs-per-step", "4", "--quant", "nf4", "--double-quant",
          "--lora-r", "2", "--lr", "0.01", "--output", place(name),
        ] + flags)
      #expect(run.exitCode == 0, "\(run.errors)")
      #expect(run.errors.contains("warning: the weights of \(model) are random numbers"))
      #expect(run.errors.contains("data synthetic:8x32: random tokens, 8 rows of input_ids"))
      return try RunResult(place(name))
    }
    let one = try train("one", ranks: 1)
    #expect(one.steps == [1, 2])
    for (name, ranks, flags) in [
      ("threads", 1, ["--threads", "2"]), ("two", 2, ["--shard", "none"]),
      ("slices", 2, ["--shard", "full"]), ("three", 3, ["--shard", "full"]),
    ] {
      let other = try train(name, ranks: ranks, flags)
      #expect(other.numbers == one.numbers, "\(name)")
      #expect(other.adapter == one.adapter, "\(name)")
    }
    let adapter = try FileSystem.readJSON(place("one/adapter_config.json"))
    #expect(adapter["base_model_name_or_path"]?.stringValue == model)
    // Every step says where its time went.
    let phases = try #require(one.metrics.first?["phase_seconds"]?.objectValue)
    #expect(phases.names == ["data", "forward", "backward", "exchange", "optimizer"])
    #expect(phases.members.allSatisfy { ($0.value.doubleValue ?? -1) >= 0 })
    let seconds = one.metrics.first?["step_seconds"]?.doubleValue ?? 0
    let sum = phases.members.reduce(0) { $0 + ($1.value.doubleValue ?? 0) }
    #expect(sum <= seconds && sum > 0.5 * seconds)
    let evaluated = try place.run([
      "evaluate", "--model", model, "--quant", "nf4", "--data", "synthetic:2x16", "--adapter",
      place("one"),
    ])
    #expect(evaluated.exitCode == 0, "\(evaluated.errors)")
    #expect(evaluated.output.contains("base+adapter"))
    let plan = try place.run(["plan", "--model", model, "--quant", "nf4"])
    #expect(plan.exitCode == 0, "\(plan.errors)")
  }

  @Test func mistakesAreTold() throws {
    let (place, model) = try place()
    func refuse(_ model: String, _ data: String, _ words: String) throws {
      let run = try place.run([
        "train", "--model", model, "--data", data, "--output", place("out"),
      ])
      expectError(run, [words])
    }
    for data in ["synthetic:", "synthetic:8", "synthetic:0x8", "synthetic:8x1", "synthetic:8x-3"] {
      try refuse(model, data, "\(data): not a number of rows")
    }
    try refuse(model, "synthetic:99999999999999999999x8", "not a number of rows")
    try refuse(model, "synthetic:16777216x16777216", "268435456 tokens at most")
    try refuse("synthetic:", "synthetic:8x8", "cannot open")
    try refuse("synthetic:\(place("none"))", "synthetic:8x8", "cannot open")
  }
}
