import Support
import Testing
import Trainer

@Suite struct ProgressBarTests {
  /// A screen that a bar draws on, with a clock that the test moves.
  private final class Screen {
    var time = 100.0
    var text = ""

    func bar(_ style: ProgressBar.Style, total: Int, completed: Int = 0) -> ProgressBar {
      ProgressBar(
        label: "train", total: total, completed: completed, style: style,
        clock: { self.time }, write: { self.text += $0 })
    }
  }

  private func status(_ step: Int) -> ProgressBar.Status {
    .init(step: step, loss: 2.34567, gradientNorm: 0.8123, tokensPerSecond: 5432.1)
  }

  @Test func linesGiveEveryField() {
    let screen = Screen()
    var bar = screen.bar(.lines(every: 2), total: 5)
    for step in 1...5 {
      screen.time += 2
      bar.update(status(step))
    }
    bar.finish()
    #expect(
      screen.text == """
        train 2/5  loss 2.3457  norm 0.8123  ETA 0:06  0.5000 steps/s  5,432 tokens/s
        train 4/5  loss 2.3457  norm 0.8123  ETA 0:02  0.5000 steps/s  5,432 tokens/s
        train 5/5  loss 2.3457  norm 0.8123  ETA 0:00  0.5000 steps/s  5,432 tokens/s

        """)
  }

  @Test func aResumedRunCountsItsOwnSteps() {
    let screen = Screen()
    var bar = screen.bar(.lines(every: 1), total: 100, completed: 90)
    screen.time += 4
    bar.update(.init(step: 92))
    #expect(screen.text == "train  92/100  ETA 0:16  0.5000 steps/s\n")
  }

  @Test(arguments: [1, 2, 10, 20, 40, 60, 80, 100, 200])
  func theBarIsNeverWiderThanTheTerminal(_ columns: Int) {
    let screen = Screen()
    var bar = screen.bar(.terminal(columns: columns), total: 100_000)
    for step in [1, 500, 100_000] {
      screen.time += 1
      bar.update(status(step))
    }
    bar.finish()
    #expect(screen.text.hasSuffix("\n"))
    for line in screen.text.split(whereSeparator: { $0 == "\r" || $0 == "\n" }) {
      #expect(line.count < max(2, columns))
    }
  }

  @Test func theBarFillsAndRedrawsAtMostTenTimesASecond() {
    let screen = Screen()
    var bar = screen.bar(.terminal(columns: 100), total: 1000)
    for step in 1...1000 {
      screen.time += 0.001
      bar.update(status(step))
    }
    bar.finish()
    let draws = screen.text.split(separator: "\r")
    #expect((10...12).contains(draws.count))
    #expect(draws.last?.hasPrefix("train 1000/1000  [====================]  loss 2.3457") == true)
    #expect(draws.first?.hasPrefix("train    1/1000  [                    ]") == true)
    #expect(screen.text.split(separator: "\n").count == 1)
  }

  @Test func notesClearTheBarFirst() {
    let screen = Screen()
    var bar = screen.bar(.terminal(columns: 30), total: 10)
    bar.update(.init(step: 1))
    screen.text = ""
    bar.note("saved")
    let cleared = screen.text.split(separator: "\r", omittingEmptySubsequences: false)
    #expect(cleared.count == 3)
    #expect(cleared[1].allSatisfy { $0 == " " })
    #expect(cleared[2] == "saved\n")
  }

  @Test func nothingDoneWritesNothing() {
    let screen = Screen()
    var bar = screen.bar(.terminal(columns: 80), total: 0)
    bar.finish()
    #expect(screen.text.isEmpty)
  }
}

@Suite struct MetricsWriterTests {
  private func record(_ step: Int) -> MetricsRecord {
    var record = MetricsRecord(step: step)
    record.loss = 6.583856344223023 / Double(step)
    record.routerLoss = 2.0 + 1e-16
    record.gradientNorm = 0.1 + 0.2
    record.learningRate = 2e-4 / 3
    record.targetTokens = 123
    record.tokens = 456
    record.tokensPerSecond = 1e5 / 3
    record.stepSeconds = 0.25
    record.bytesSent = 1 << 40
    record.peakMemoryByteCount = 1 << 33
    return record
  }

  @Test func recordsAreInTheFileAtOnceAndReadBackExactly() throws {
    try withTemporaryDirectory { directory in
      let path = "\(directory)/metrics.jsonl"
      var writer = try MetricsWriter(path: path, resumingAfter: 0)
      try writer.append(record(3))
      let line = try FileSystem.readText(path)
      #expect(line.hasSuffix("}\n"))
      let read = try JSONParser.parse(line)
      #expect(
        read.objectValue?.names == [
          "step", "loss", "router_loss", "gradient_norm", "learning_rate", "target_tokens",
          "tokens", "tokens_per_second", "step_seconds", "bytes_sent", "peak_memory_bytes",
        ])
      #expect(read["loss"]?.doubleValue == 6.583856344223023 / 3)
      #expect(read["gradient_norm"]?.doubleValue == 0.1 + 0.2)
      #expect(read["bytes_sent"]?.intValue == 1 << 40)
      var evaluation = MetricsRecord(step: 4)
      evaluation.evaluationLoss = 1.5
      try writer.append(evaluation)
      #expect(try FileSystem.readText(path).hasSuffix("{\"step\": 4, \"eval_loss\": 1.5}\n"))
    }
  }

  @Test func aResumedRunDropsLaterAndCutRecords() throws {
    try withTemporaryDirectory { directory in
      let path = "\(directory)/metrics.jsonl"
      let whole = (1...5).map { "{\"step\": \($0), \"loss\": 0.1}\n" }.joined()
      try FileSystem.writeAtomically(whole + "{\"step\": 6, \"lo", to: path)
      var writer = try MetricsWriter(path: path, resumingAfter: 3)
      try writer.append(MetricsRecord(step: 4))
      #expect(
        try FileSystem.readText(path)
          == (1...3).map { "{\"step\": \($0), \"loss\": 0.1}\n" }.joined() + "{\"step\": 4}\n")
    }
  }

  @Test func aForeignFileIsNotChanged() throws {
    try withTemporaryDirectory { directory in
      let path = "\(directory)/metrics.jsonl"
      try FileSystem.writeAtomically("{\"step\": 1}\nhello\n", to: path)
      do {
        var writer = try MetricsWriter(path: path, resumingAfter: 1)
        try writer.append(MetricsRecord(step: 2))
        Issue.record("accepted")
      } catch let error as UserError {
        #expect(error.location == "\(path):2")
      }
      #expect(try FileSystem.readText(path) == "{\"step\": 1}\nhello\n")
    }
  }
}

@Suite struct PeakMemoryTests {
  @Test func theKernelTellsIt() {
    #expect(PeakMemory.byteCount() > 1 << 20)
  }
}
