import Glibc
import Support
import TestSupport
import Testing

/// A disk that fills up costs no step: training goes on, what was saved stays, and the end says so.
@Suite(.timeLimit(.minutes(5))) struct DiskTests {
  private let place: Workplace
  private let arguments: [String]

  init() throws {
    place = try Workplace()
    let tiny = TinyModel()
    arguments = [
      "train", "--model", try tiny.write(place("model")), "--data",
      try place.write("rows.jsonl", tiny.rows(40)), "--samples-per-pack", "2",
      "--packs-per-step", "2", "--lr", "0.01", "--no-cache",
    ]
  }

  /// At `--lora-r 8` the adapter has 33 kB, the moments of a checkpoint 57 kB.
  private func train(
    _ name: String, ranks: Int = 1, limit: Int? = nil, _ extra: [String]
  ) throws -> ProgramRun {
    try place.run(
      ranks: ranks, arguments + ["--output", place(name)] + extra, fileLimit: limit)
  }

  private func expectNoCheckpoint(_ run: ProgramRun, in output: String) throws {
    expectError(
      run,
      [
        "warning: checkpoint not written: \(output)/.checkpoint-3.tmp/optimizer.safetensors: ",
        "; training goes on", "step 10/10", "error: \(output)/.checkpoint-10.tmp/",
        "the last checkpoint was not written: ", "the adapter is whole in \(output)", "fix: ",
      ], code: ExitCode.failure)
    #expect(try train("whole", ["--lora-r", "8", "--save-steps", "3"]).exitCode == 0)
    let (whole, result) = (try RunResult(place("whole")), try RunResult(output))
    #expect(whole.steps == Array(1...10))
    #expect(result.adapter == whole.adapter)
    #expect(result.numbers == whole.numbers)
    #expect(
      try FileSystem.list(output).sorted() == [
        "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "run.yaml",
      ])
  }

  @Test func checkpointsThatDoNotFit() throws {
    let flags = ["--lora-r", "8", "--save-steps", "3"]
    try expectNoCheckpoint(try train("run", limit: 45, flags), in: place("run"))
  }

  @Test func checkpointsThatDoNotFitOnTheDisk() throws {
    let flags = ["--lora-r", "8", "--save-steps", "3"]
    try place.withDisk(kilobytes: 80) { disk in
      let run = try place.run(ranks: 2, arguments + ["--output", "\(disk)/run"] + flags)
      #expect(run.errors.contains("No space left on device"))
      try expectNoCheckpoint(run, in: "\(disk)/run")
    }
  }

  @Test func anAdapterThatDoesNotFit() throws {
    let flags = ["--lora-r", "8", "--save-steps", "3", "--lr-scheduler", "constant"]
    let bare = try train("bare", limit: 30, flags)
    expectError(
      bare,
      [
        "adapter_model.safetensors: the adapter was not written: cannot write",
        "there is no checkpoint",
      ], code: ExitCode.failure)
    #expect(try FileSystem.list(place("bare")).sorted() == ["metrics.jsonl", "run.yaml"])

    #expect(try train("run", flags + ["--max-steps", "6"]).exitCode == 0)
    let saved = try Workplace.contents(place("run/checkpoint-6"))
    let adapter = try RunResult(place("run")).adapter
    let run = try train("run", limit: 30, flags + ["--resume"])
    expectError(
      run,
      [
        "resuming after step 6", "step 10/10", "the adapter was not written",
        "fix: make room, then go on with --resume from \(place("run"))/checkpoint-6",
      ], code: ExitCode.failure)
    // What was there before is as it was.
    #expect(try Workplace.contents(place("run/checkpoint-6")) == saved)
    #expect(try RunResult(place("run")).adapter == adapter)
    #expect(!(try FileSystem.list(place("run")).contains { $0.contains("tmp") }))
    let again = try train("run", flags + ["--resume"])
    #expect(again.exitCode == 0, "\(again.errors)")
    #expect(try train("whole", flags).exitCode == 0)
    #expect(try RunResult(place("run")).adapter == RunResult(place("whole")).adapter)
    #expect(try RunResult(place("run")).numbers == RunResult(place("whole")).numbers)
  }

  @Test func metricsThatDoNotFit() throws {
    // Adapter and moments stay below 2 kB, the records do not.
    let flags = ["--lora-r", "1", "--lora-targets", "v"]
    let run = try train("run", limit: 2, flags)
    expectError(
      run,
      [
        "warning: \(place("run"))/metrics.jsonl: cannot write", "training goes on", "step 10/10",
        "error: \(place("run"))/metrics.jsonl: metrics are missing: ", "the adapter is whole",
      ], code: ExitCode.failure)
    #expect(run.errors.ranges(of: "warning: ").count == 1)
    #expect(try train("whole", flags).exitCode == 0)
    let (ours, whole) = (try RunResult(place("run")), try RunResult(place("whole")))
    #expect(ours.adapter == whole.adapter)
    // Whole lines only.
    #expect(ours.steps == Array(1...ours.steps.count) && ours.steps.count < 10)
    #expect(ours.numbers == Array(whole.numbers.prefix(ours.steps.count)))
  }

  /// Nothing is missing when there is room again before the end.
  @Test func aDiskThatIsFullForAWhile() throws {
    let flags = [
      "--lora-r", "8", "--epochs", "200", "--save-steps", "20", "--logging-steps", "500",
    ]
    #expect(try train("whole", flags).exitCode == 0)
    try place.withDisk(kilobytes: 2048) { disk in
      let run = try place.run(arguments + ["--output", "\(disk)/run"] + flags) { process in
        var waits = 0
        while !FileSystem.exists("\(disk)/run/checkpoint-40"), waits < 100_000 {
          usleep(100)
          waits += 1
        }
        // As much as goes.
        try? FileSystem.write([UInt8](repeating: 7, count: 3 << 20), to: "\(disk)/ballast")
        usleep(100_000)
        try? FileSystem.remove("\(disk)/ballast")
      }
      #expect(run.exitCode == 0, "\(run.errors)")
      #expect(run.errors.contains("No space left on device; training goes on"), "\(run.errors)")
      let (ours, whole) = (try RunResult("\(disk)/run"), try RunResult(place("whole")))
      #expect(ours.steps == Array(1...2000))
      #expect(ours.numbers == whole.numbers)
      #expect(ours.adapter == whole.adapter)
      #expect(!(try FileSystem.list("\(disk)/run").contains { $0.contains("tmp") }))
    }
  }
}
