import Support
import TestSupport
import Testing

/// Data, flags and directories that are wrong: each has its error, and nothing is overwritten.
@Suite(.timeLimit(.minutes(5))) struct DataInputTests {
  private let place: Workplace
  private let tiny = TinyModel()
  private let model: String

  init() throws {
    place = try Workplace()
    model = try tiny.write(place("model"))
  }

  private func train(_ rows: String, ranks: Int = 1, _ extra: [String] = []) throws -> ProgramRun {
    let data = try place.write("rows.jsonl", rows)
    return try place.run(
      ranks: ranks,
      ["train", "--model", model, "--data", data, "--output", place("run")] + extra)
  }

  private func refused(
    _ rows: String, _ words: [String], _ extra: [String] = [],
    location: SourceLocation = #_sourceLocation
  ) throws {
    let run = try train(rows, extra)
    expectError(run, ["error: "] + words, location: location)
    #expect(!FileSystem.exists(place("run")), sourceLocation: location)
  }

  @Test func rows() throws {
    let data = place("rows.jsonl")
    let good = "{\"input_ids\": [5, 6, 7]}\n"
    try refused("", ["\(data): the file is empty", "fix: write one JSON object a line"])
    try refused("\n \n", ["\(data): no rows: there is nothing but a header or blank lines"])
    try refused(good + good + "{\"input_ids\": [5, 6\n", ["\(data):3: ", "fix: "])
    try refused(good + "[1, 2]\n", ["\(data):2: the line holds an array"])
    try refused(good + "{\"text\": \"a\"}\n", ["\(data):2: the column \"input_ids\" is missing"])
    try refused("{\"a\": 1}\n", ["\(data):1: the row has only the column \"a\"", "fix: "])
    try refused(
      "{\"text\": \"hello\"}\n",
      ["\(data):1: the row is text, but the model directory has no tokenizer", "fix: put tok"])
    try refused(
      good + "{\"input_ids\": [5, 64]}\n",
      ["\(data):2: input_ids[1] is 64, not a token id from 0 to 63", "fix: "])
    try refused("{\"input_ids\": [5, -1]}\n", ["\(data):1: input_ids[1] is -1, not a token id"])
    try refused("{\"input_ids\": [5, 1e99]}\n", ["\(data):1: input_ids[1] is a number"])
    try refused("{\"input_ids\": [5, \"6\"]}\n", ["\(data):1: input_ids[1] is a string"])
    try refused("{\"input_ids\": []}\n", ["\(data):1: input_ids is empty"])
    try refused(
      "{\"input_ids\": [5, 6], \"labels\": [5]}\n",
      ["\(data):1: input_ids has 2 elements and labels 1"])
    try refused(
      "{\"input_ids\": [5, 6], \"labels\": [5, -100]}\n", ["\(data): nothing to learn"])
    try refused(
      String(repeating: "[", count: 200_000) + "\n", ["\(data):1: ", "fix: "])
    let missing = try place.run([
      "train", "--model", model, "--data", place("none.jsonl"), "--output", place("run"),
    ])
    expectError(missing, ["error: \(place("none.jsonl")): cannot open: No such file"])
    expectError(
      try place.run(["train", "--model", model, "--data", place(""), "--output", place("run")]),
      ["not a regular file"])
  }

  /// Limits far above the data take neither time nor memory.
  @Test func limitsFarAboveTheData() throws {
    let run = try train(
      tiny.rows(9),
      ["--packs-per-step", "1048576", "--max-length", "4000000", "--pack-tokens", "8000000"])
    #expect(run.exitCode == 0, "\(run.errors)")
    let memory = try #require(run.errors.split(separator: "\n").first { $0.hasPrefix("memory") })
    #expect(!memory.contains("GB"), "\(memory)")
  }

  @Test func longRows() throws {
    let data = place("rows.jsonl")
    let short = "{\"input_ids\": [5, 6, 7]}\n"
    let ids = (0..<12).map { "\(5 + $0)" }.joined(separator: ", ")
    let labels = (0..<12).map { $0 < 8 ? "-100" : "\(5 + $0)" }.joined(separator: ", ")
    let long = "{\"input_ids\": [\(ids)], \"labels\": [\(labels)]}\n"
    let plain = "{\"input_ids\": [5, 6, 7], \"labels\": [5, 6, 7]}\n"
    try refused(
      plain + long + long,
      [
        "\(data):2: 2 of 3 rows are longer than --max-length 8; the longest has 12 tokens",
        "fix: raise --max-length to 12, or choose --overlength drop, truncate-prompt or split",
      ], ["--max-length", "8"])
    try refused(
      plain + long, ["\(data):2: the answer alone does not fit into --max-length 3", "4 tokens"],
      ["--max-length", "3", "--overlength", "truncate-prompt"])
    try refused(
      long, ["nothing to learn: 1 rows (1 dropped)"], ["--max-length", "8", "--overlength", "drop"])
    let dropped = try train(short + long + short, ["--max-length", "8", "--overlength", "drop"])
    #expect(dropped.exitCode == 0, "\(dropped.errors)")
    #expect(
      dropped.errors.contains("3 rows, 6 tokens, 4 trained, longest 3, 1 dropped as too long"))
    try FileSystem.remove(place("run"))
    let cut = try train(
      plain + long, ["--max-length", "8", "--overlength", "truncate-prompt"])
    #expect(cut.exitCode == 0, "\(cut.errors)")
    #expect(cut.errors.contains("2 rows, 11 tokens, 6 trained, longest 8, 1 prompts cut"))
  }

  @Test func flagsThatContradict() throws {
    let rows = tiny.rows(3)
    try refused(
      rows, ["--samples-per-pack: given together with --pack-tokens", "fix: "],
      ["--samples-per-pack", "2", "--pack-tokens", "4096"])
    try refused(rows, ["--double-quant: needs a quantized base"], ["--double-quant"])
    try refused(rows, ["--eval-steps: 5, but there is nothing"], ["--eval-steps", "5"])
    try refused(
      rows, ["--pack-tokens: 100, but --max-length allows samples of 2048 tokens"],
      ["--pack-tokens", "100"])
    try refused(
      rows, ["--warmup-steps: 5, but --max-steps ends"],
      ["--warmup-steps", "5", "--max-steps", "4"])
    try refused(rows, ["--prompt: ", "--completion is missing"], ["--prompt", "{x}"])
    try refused(rows, ["--lora-targets"], ["--lora-targets", "q,nothing"])
    try refused(rows, ["--lora-targets: the model has none"], ["--lora-targets", "gate"])
    try refused(rows, ["--lr", "given twice"], ["--lr", "1", "--lr", "2"])
    try refused(rows, ["--lr"], ["--lr", "nan"])
    try refused(rows, ["--lr"], ["--lr", "inf"])
    try refused(rows, ["--lr"], ["--lr", "-1"])
    try refused(rows, ["--lora-dropout"], ["--lora-dropout", "1"])
    try refused(rows, ["--epochs"], ["--epochs", "99999999999999999999"])
    let file = try place.write("run.yaml", "lr: 0.01\nsede: 7\n")
    try refused(rows, ["\(file):2", "sede", "seed?"], ["--config", file])
    try place.write("run.yaml", "lr: [1]\n")
    try refused(rows, ["\(file):1", "lr"], ["--config", file])
    try place.write("run.yaml", "lr: {\n")
    try refused(rows, ["\(file):"], ["--config", file])
    expectError(
      try place.run(["train", "--model", model]), ["--model: given without --data", "fix: "])
    expectError(try place.run(["train", "--resume"]), ["--resume: continues the run in --output"])
  }

  @Test func aRunIsNeverOverwritten() throws {
    let first = try train(tiny.rows(20), ["--samples-per-pack", "1", "--packs-per-step", "2"])
    #expect(first.exitCode == 0, "\(first.errors)")
    let files = try Workplace.contents(place("run"))
    #expect(files.count >= 8)
    for ranks in [1, 2] {
      let again = try train(tiny.rows(20), ranks: ranks)
      expectError(
        again, ["error: --output: \(place("run")) holds a run already", "fix: add --resume"])
    }
    for name in ["adapter_config.json", "metrics.jsonl"] {
      try FileSystem.makeDirectories(place("part"))
      try FileSystem.write([1], to: place("part/\(name)"))
      let run = try place.run([
        "train", "--model", model, "--data", place("rows.jsonl"), "--output", place("part"),
      ])
      expectError(run, ["holds a run already (\(name))"])
      try FileSystem.remove(place("part"))
    }
    expectError(
      try place.run([
        "train", "--model", model, "--data", place("rows.jsonl"), "--output", place("rows.jsonl"),
      ]), ["is a file, but a directory is needed"])
    #expect(try Workplace.contents(place("run")) == files)
    // What run.yaml says gives the same run again.
    let repeated = try place.run([
      "train", "--config", place("run/run.yaml"), "--output", place("again"),
    ])
    #expect(repeated.exitCode == 0, "\(repeated.errors)")
    #expect(try RunResult(place("again")).adapter == RunResult(place("run")).adapter)
    #expect(try RunResult(place("again")).numbers == RunResult(place("run")).numbers)
  }

  /// All ranks stop before the update that would ruin the weights.
  @Test(arguments: [1, 3]) func aLossThatIsNoNumber(_ ranks: Int) throws {
    let run = try train(
      tiny.rows(24), ranks: ranks,
      ["--samples-per-pack", "1", "--packs-per-step", "4", "--lr", "1e30", "--save-steps", "1"])
    expectError(
      run, ["error: step 2: loss ", "not finite; the step was not applied", "fix: lower --lr"],
      code: ExitCode.notFinite)
    #expect(run.errors.ranges(of: "the step was not applied").count == 1)
    #expect(!FileSystem.exists(place("run/adapter_model.safetensors")))
    let metrics = try FileSystem.readText(place("run/metrics.jsonl"))
    #expect(metrics.split(separator: "\n").count == 1)
    #expect(
      try FileSystem.list(place("run")).filter { $0.contains("checkpoint") } == ["checkpoint-1"])
    let kept = try SafetensorsFile(path: place("run/checkpoint-1/adapter_model.safetensors"))
    for entry in kept.entries.values {
      #expect(try kept.floats(entry).allSatisfy(\.isFinite))
    }
  }
}
