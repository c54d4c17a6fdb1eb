import Support
import TestSupport
import Testing

/// What progress looks like on a terminal, and where there is none.
@Suite(.timeLimit(.minutes(5))) struct TerminalTests {
  private let place: Workplace
  private let arguments: [String]

  init() throws {
    place = try Workplace()
    let tiny = TinyModel()
    arguments = [
      "train", "--model", try tiny.write(place("model")), "--data",
      try place.write("rows.jsonl", tiny.rows(400)), "--samples-per-pack", "1",
      "--packs-per-step", "4", "--output", place("run"), "--epochs", "2",
    ]
  }

  @Test(arguments: [(4, 100), (1, 60), (2, 34)])
  func theBarRedrawsItself(_ ranks: Int, _ columns: Int) throws {
    let run = try place.run(ranks: ranks, arguments, terminalColumns: columns)
    #expect(run.exitCode == 0, "\(run.output)")
    // The terminal makes each newline a carriage return and a newline.
    let lines = run.output.replacing("\r\n", with: "\n").split(separator: "\n").map(String.init)
    let steps = try #require(lines.first { $0.contains("step ") && $0.contains("/200") })
    let drawn = steps.split(separator: "\r").map(String.init)
    #expect(drawn.count > 2, "\(steps)")
    for text in drawn {
      #expect(text.count < columns, "\"\(text)\" on \(columns) columns")
      #expect(text.allSatisfy { $0 == " " } || text.hasPrefix("step "), "\(text)")
    }
    // The last drawing shows the end, on one line.
    let last = try #require(drawn.last { $0.hasPrefix("step ") })
    #expect(last.hasPrefix("step 200/200"))
    #expect(last.contains("[====================]") == (columns >= 80))
    #expect(!run.output.contains("[rank "))
    #expect(lines.contains { $0.hasSuffix("adapter: \(place("run"))") })
  }

  @Test(arguments: [1, 4]) func plainLinesWithoutATerminal(_ ranks: Int) throws {
    let run = try place.run(ranks: ranks, arguments + ["--logging-steps", "50"])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(!run.errors.contains("\r"))
    #expect(run.output.isEmpty)
    // With several ranks a line says how the base is shared.
    let lines = run.errors.split(separator: "\n").map(String.init).filter {
      !$0.hasPrefix("shard ")
    }
    let steps = lines.filter { $0.contains("step ") }
    #expect(
      steps.map { $0.prefix(12) } == [
        "step  50/200", "step 100/200", "step 150/200",
        "step 200/200",
      ])
    #expect(
      lines.map { $0.prefix { $0 != " " } } == [
        "accelerate-swift", "data", "rows:", "data:", "packs:", "memory", "model", "step", "step",
        "step", "step", "peak", "adapter:",
      ])
    #expect(!run.errors.contains("loading"))
  }
}
