import DistributedTraining
import Glibc
import Support
import TestSupport
import Testing

/// A killed run goes on where its newest checkpoint is, to the same bits.
@Suite(.timeLimit(.minutes(5))) struct ResumeTests {
  private let place: Workplace
  private let tiny = TinyModel(isMixture: true)
  private let arguments: [String]

  init() throws {
    place = try Workplace()
    arguments = [
      "train", "--model", try tiny.write(place("model")), "--data",
      try place.write("rows.jsonl", tiny.rows(60)), "--samples-per-pack", "2",
      "--packs-per-step", "3", "--epochs", "8", "--lora-dropout", "0.1", "--quant", "nf4",
    ]
  }

  /// Flags that a test changes, each given once.
  private func train(
    _ name: String, ranks: Int = 1, _ extra: [String] = [],
    whileRunning: (Int32) -> Void = { _ in }
  ) throws -> ProgramRun {
    var flags = arguments
    for (flag, value) in [
      ("--lr", "0.01"), ("--lora-r", "4"), ("--seed", "42"), ("--save-steps", "4"),
    ]
    where !extra.contains(flag) { flags += [flag, value] }
    return try place.run(
      ranks: ranks, flags + ["--output", place(name)] + extra, whileRunning: whileRunning)
  }

  private func checkpoints(_ name: String) throws -> [String] {
    try FileSystem.list(place(name)).filter { $0.hasPrefix("checkpoint-") }
  }

  @Test(arguments: [(1, 2), (2, 1), (1, 1)])
  func killedAndResumed(_ before: Int, _ after: Int) throws {
    let epochs = ["--keep-checkpoints", "3", "--max-steps", "80"]
    let whole = try train("whole", epochs)
    #expect(whole.exitCode == 0, "\(whole.errors)")
    let expected = try RunResult(place("whole"))
    #expect(expected.steps == Array(1...80))

    // Killed by SIGKILL as soon as the checkpoint of step 8 is there.
    let output = place("killed")
    let killed = try train("killed", ranks: before, epochs) { process in
      var waits = 0
      while !FileSystem.exists("\(output)/checkpoint-8"), waits < 300_000 {
        usleep(100)
        waits += 1
      }
      // With the ranks, which `launch` has as grandchildren.
      for process in [process] + ProcessTree.descendants(of: process) { kill(process, SIGKILL) }
    }
    #expect(killed.exitCode == 128 + SIGKILL)
    #expect(FileSystem.exists("\(output)/checkpoint-8"))
    try #require(!FileSystem.exists("\(output)/adapter_model.safetensors"), "killed too late")
    // What a crash in the middle of a save and of a line leaves.
    try FileSystem.makeDirectories("\(output)/.checkpoint-99.tmp")
    try FileSystem.write([1, 2, 3], to: "\(output)/.checkpoint-99.tmp/state.json")
    let partial = try FileSystem.readText("\(output)/metrics.jsonl") + "{\"step\": 9, \"lo"
    try FileSystem.write(Array(partial.utf8), to: "\(output)/metrics.jsonl")

    let resumed = try train("killed", ranks: after, epochs + ["--resume"])
    #expect(resumed.exitCode == 0, "\(resumed.errors)")
    #expect(resumed.errors.contains("resuming after step "))
    let result = try RunResult(output)
    #expect(result.steps == expected.steps)
    #expect(result.numbers == expected.numbers)
    #expect(result.adapter == expected.adapter)
    #expect(!FileSystem.exists("\(output)/.checkpoint-99.tmp"))
  }

  @Test func onlyTheNewestCheckpointsAreKept() throws {
    #expect(try train("two", ["--max-steps", "30"]).exitCode == 0)
    #expect(try checkpoints("two") == ["checkpoint-28", "checkpoint-30"])
    #expect(try train("three", ["--max-steps", "30", "--keep-checkpoints", "3"]).exitCode == 0)
    #expect(try checkpoints("three") == ["checkpoint-24", "checkpoint-28", "checkpoint-30"])
    #expect(try train("all", ["--max-steps", "30", "--keep-checkpoints", "0"]).exitCode == 0)
    #expect(try checkpoints("all").count == 8)
    #expect(try train("end", ["--max-steps", "30", "--save-steps", "0"]).exitCode == 0)
    #expect(try checkpoints("end") == ["checkpoint-30"])
  }

  @Test func whatChangedIsNamed() throws {
    #expect(try train("run", ["--max-steps", "4"]).exitCode == 0)
    let files = try Workplace.contents(place("run"))
    func refused(_ extra: [String], _ words: [String]) throws {
      expectError(try train("run", ["--resume"] + extra), words)
      #expect(try Workplace.contents(place("run")) == files)
    }
    try refused(
      ["--lr", "0.02", "--seed", "1"],
      ["error: --resume: --seed is 1, but the checkpoint of step 4 has 42", "fix: "])
    try refused(["--lr", "0.02"], ["--lr is 0.02, but the checkpoint of step 4 has 0.01"])
    try refused(["--lora-r", "8"], ["error: ", "--lora-r is 8", "has 4"])
    try refused(["--weight-decay", "0.5"], ["--weight-decay is 0.5", "has 0"])
    try refused(["--no-shuffle"], ["--no-shuffle is true", "has false"])
    let rows = try FileSystem.readText(place("rows.jsonl"))
    try place.write("rows.jsonl", tiny.rows(60, seed: 8))
    try refused([], ["digest of the data is"])
    try place.write("rows.jsonl", rows)
    var other = tiny
    other.intermediate = 64
    try other.write(place("model"))
    try refused([], ["error: "])
    try tiny.write(place("model"))
    // Where nothing changed but the number of steps, it goes on.
    let run = try train("run", ["--resume", "--max-steps", "6"])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(try RunResult(place("run")).steps == Array(1...6))
  }

  @Test(arguments: ["flipped", "short", "no manifest", "no weights"])
  func aDamagedCheckpointIsPassedOver(_ damage: String) throws {
    let steps = ["--max-steps", "30"]
    #expect(try train("whole", steps).exitCode == 0)
    #expect(try train("run", steps).exitCode == 0)
    let newest = place("run/checkpoint-30")
    switch damage {
    case "flipped":
      var bytes = try FileSystem.readBytes("\(newest)/optimizer.safetensors")
      bytes[bytes.count - 3] ^= 1
      try FileSystem.write(bytes, to: "\(newest)/optimizer.safetensors")
    case "short":
      let bytes = try FileSystem.readBytes("\(newest)/adapter_model.safetensors")
      try FileSystem.write(Array(bytes.dropLast()), to: "\(newest)/adapter_model.safetensors")
    case "no manifest": try FileSystem.remove("\(newest)/manifest.json")
    default: try FileSystem.remove("\(newest)/adapter_model.safetensors")
    }
    let run = try train("run", steps + ["--resume"])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(run.errors.contains("warning: \(newest)/"), "\(run.errors)")
    #expect(run.errors.contains("resuming after step 28"))
    let (ours, expected) = (try RunResult(place("run")), try RunResult(place("whole")))
    #expect(ours.numbers == expected.numbers)
    #expect(ours.adapter == expected.adapter)
    for checkpoint in try checkpoints("run") {
      try FileSystem.remove(place("run/\(checkpoint)/manifest.json"))
    }
    expectError(try train("run", ["--resume"]), ["none of its 2 checkpoints is whole", "fix: "])
  }

  @Test func nothingToResumeBeginsAtTheStart() throws {
    let run = try train("fresh", ["--resume", "--max-steps", "2"])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(run.errors.contains("nothing to resume in \(place("fresh")); starting at step 1"))
    #expect(try RunResult(place("fresh")).steps == [1, 2])
    // Killed before its first checkpoint: the records of steps that are computed again go.
    let whole = try RunResult(place("fresh"))
    try FileSystem.remove(place("fresh/checkpoint-2"))
    try FileSystem.remove(place("fresh/adapter_model.safetensors"))
    #expect(try train("fresh", ["--resume", "--max-steps", "2"]).exitCode == 0)
    #expect(try RunResult(place("fresh")).numbers == whole.numbers)
    // A run that is done stays as it is.
    let done = try train("fresh", ["--resume", "--max-steps", "2"])
    #expect(done.exitCode == 0, "\(done.errors)")
    #expect(try RunResult(place("fresh")).numbers == whole.numbers)
    #expect(try RunResult(place("fresh")).adapter == whole.adapter)
  }
}
