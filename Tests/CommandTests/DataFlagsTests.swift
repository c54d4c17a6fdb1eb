import Support
import TestSupport
import Testing

/// Several files, hold-outs, the cache of tokens, and the `data` command.
@Suite(.timeLimit(.minutes(5))) struct DataFlagsTests {
  private let place: Workplace
  private let tiny = TinyModel()
  private let model: String

  init() throws {
    place = try Workplace()
    model = try tiny.write(place("model"))
  }

  private func train(_ output: String, ranks: Int = 1, _ data: [String], _ extra: [String] = [])
    throws -> RunResult
  {
    let run = try place.run(
      ranks: ranks,
      ["train", "--model", model, "--output", place(output), "--max-length", "64"]
        + ["--packs-per-step", "3", "--samples-per-pack", "2", "--cache", place("cache")]
        + data.flatMap { ["--data", $0] } + extra)
    #expect(run.exitCode == 0, "\(run.errors)")
    return try RunResult(place(output))
  }

  @Test func rowsInAnyFormatTrainTheSame() throws {
    let rows = tiny.rows(30).split(separator: "\n").map(String.init)
    let lines = try place.write("a.jsonl", rows.joined(separator: "\n"))
    let array = try place.write("a.json", "[\n" + rows.joined(separator: ",\n") + "]\n")
    let first = try train("lines", [lines])
    let second = try train("array", [array])
    #expect(first.numbers == second.numbers && first.adapter == second.adapter)
    // The configuration file gives the same run, with the weights.
    let weighted = try train("weighted", ["\(lines):1.5", array])
    let again = try place.run([
      "train", "--config", place("weighted/run.yaml"), "--output", place("again"),
    ])
    #expect(again.exitCode == 0, "\(again.errors)")
    #expect(again.errors.contains(", weight 1.5\n"))
    #expect(try RunResult(place("again")).adapter == weighted.adapter)
    #expect(weighted.steps.count == (45 + 30 + 5) / 6 || weighted.steps.count > 10)
  }

  @Test func pathsWithColons() throws {
    let odd = try place.write("a:2", tiny.rows(4))
    let plain = try place.write("a.jsonl:x", tiny.rows(4))
    #expect(try train("odd", [odd]).steps == [1])
    #expect(try train("twice", ["\(odd):2"]).steps == [1, 2])
    #expect(try train("plain", [plain]).steps == [1])
    let run = try place.run(["train", "--model", model, "--data", place("none:x")])
    expectError(run, ["\(place("none:x")): cannot open"])
  }

  @Test func theHoldOutIsTheSameOnAnyNumberOfRanks() throws {
    let data = try place.write("a.jsonl", tiny.rows(60))
    let flags = ["--holdout", "0.2", "--eval-steps", "2"]
    let alone = try train("one", [data], flags)
    let two = try train("two", ranks: 2, [data], flags)
    let memory = try train("memory", ranks: 2, [data], flags + ["--no-cache"])
    #expect(alone.numbers == two.numbers && alone.numbers == memory.numbers)
    #expect(alone.adapter == two.adapter && alone.adapter == memory.adapter)
    let losses = alone.metrics.compactMap { $0["eval_loss"]?.doubleValue }
    #expect(losses.count >= 3 && losses.allSatisfy { $0 > 0 })
  }

  @Test func damagedTokensAreMadeAgain() throws {
    let data = try place.write("a.jsonl", tiny.rows(20))
    let first = try train("first", [data])
    let files = try FileSystem.list(place("cache/tokens"))
    #expect(files.count == 1)
    let path = place("cache/tokens/\(files[0])")
    let whole = try FileSystem.readBytes(path)
    var bytes = whole
    bytes[40] ^= 1
    try FileSystem.write(bytes, to: path)
    #expect(try train("second", ranks: 2, [data]).adapter == first.adapter)
    #expect(try FileSystem.readBytes(path) == whole)
    #expect(try FileSystem.list(place("cache/tokens")) == files)
    try place.write("a.jsonl", tiny.rows(20, seed: 8))
    _ = try train("third", [data])
    #expect(try FileSystem.list(place("cache/tokens")).count == 2, "other content, other tokens")
  }

  @Test func dataShowsWhatIsTrained() throws {
    let row = "{\"input_ids\": [5, 6, 7, 2], \"labels\": [-100, -100, 7, 2]}\n"
    let data = try place.write("a.jsonl", row + row + "{\"input_ids\": [5, 6]}\n")
    let run = try place.run([
      "data", "--model", model, "--data", data, "--candidates", "3,4", "--show", "2",
      "--svg", place("h.svg"), "--no-cache",
    ])
    #expect(run.exitCode == 0, "\(run.errors)")
    for words in [
      "\(data): JSONL, 3 rows of input_ids, labels\n", "duplicate rows                    1\n",
      "trained tokens                    5\n", "-- \(data):1, 4 tokens, 2 trained",
      "5 6 \u{27E6}7\u{27E7} \u{27E6}2\u{27E7}\n", "suggested: --max-length 4",
    ] {
      #expect(run.output.contains(words), "\(words) is not in \(run.output)")
    }
    let line = run.output.split(separator: "\n").first { $0.hasPrefix("           3 ") }
    #expect(line?.contains("66.67 %") == true && line?.contains("40.00 %") == true, "\(run.output)")
    let svg = try FileSystem.readText(place("h.svg"))
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
    expectError(
      try place.run(["data", "--candidates", "1"]), ["--candidates: \"1\" is not a length from 2"])
    expectError(try place.run(["launch", "--nproc", "2", "data"]), ["cannot start data"])
    let demo = try place.run(["data", "--show", "1"])
    #expect(demo.exitCode == 0 && demo.output.contains("<end>\u{27E7}"), "\(demo.output)")
  }
}
