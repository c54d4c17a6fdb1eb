import ComputeCUDA
import DistributedTraining
import Support
import TestSupport
import Testing
import Trainer

/// The plan's memory of a GPU against what the program takes of the stand-in's, and ranks that share.
@Suite(
  .serialized, .timeLimit(.minutes(5)),
  .enabled(if: FakeLibraries.areThere, FakeLibraries.needs))
struct MemoryPlanTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var model: String
    var ranks = 1
    var flags: [String]
    var testDescription: String { "\(model), \(ranks) ranks, \(flags.joined(separator: " "))" }
  }

  /// Packs of up to 8192 tokens, so that a step takes more than reading the base does.
  private static let long = [
    "--data", "synthetic:8x2048", "--max-length", "2048", "--pack-tokens", "8192",
  ]
  static let cases = [
    Case(model: "llama-tied-head", flags: long),
    Case(
      model: "mixtral-experts", flags: long + ["--quant", "nf4", "--mixed-precision", "bf16"]),
    Case(
      model: "mixtral-experts",
      flags: long + ["--mixed-precision", "bf16", "--gradient-checkpointing", "on"]),
    Case(
      model: "qwen3-tied", ranks: 2,
      flags: long + ["--shard", "none", "--gradient-checkpointing", "on"]),
    Case(
      model: "llama-wide-heads-rslora", ranks: 2,
      flags: long + ["--shard", "full", "--quant", "nf4", "--mixed-precision", "bf16"]),
  ]

  @Test(arguments: cases) func peakIsThePlans(_ example: Case) throws {
    let run = try FakeRun()
    let result = try run.train(
      model: example.model, ranks: example.ranks,
      ["--max-steps", "1", "--lora-targets", "all-linear", "--lora-dropout", "0.1"] + example.flags,
      [CUDALibrary.cuBLASLt.variable: "none"])
    #expect(result.exitCode == 0, "\(result.errors)")
    let line = try #require(
      result.errors.split(separator: "\n").first { $0.contains("peak memory of a GPU per rank: ") })
    let planned = try #require(Self.megabytes(line.split(separator: ",").last ?? ""))
    let peaks = try run.takePeaks().map { Double($0) / 1e6 }
    #expect(peaks.count == example.ranks)
    // The largest rank comes within a twentieth of its plan, and none beyond it, which is printed
    // with one digit after the point.
    let largest = peaks.max() ?? 0
    #expect(largest <= planned + 0.05 && largest >= 0.95 * planned, "\(peaks), \(line)")
  }

  /// The number of `planned 12.3 MB`, in megabytes.
  private static func megabytes(_ text: some StringProtocol) -> Double? {
    let words = text.split(separator: " ")
    let units = ["kB": 1e-3, "MB": 1, "GB": 1e3]
    guard words.count == 3, let number = Double(words[1]), let unit = units[String(words[2])]
    else { return nil }
    return number * unit
  }

  /// Two ranks on one GPU are planned together, and named; alone on a GPU each has room.
  @Test func ranksOnOneGPUAreAccountedTogether() throws {
    let flags = ["--max-steps", "1"] + Self.long
    let one = try FakeRun().train(ranks: 1, flags)
    let peak = try #require(
      one.errors.split(separator: "\n").first { $0.contains("peak memory of a GPU") })
    let planned = try #require(Self.megabytes(peak.split(separator: ",").last ?? ""))
    // Room for one and a half; and for what the library takes before the plan.
    let room = ["FAKE_MEMORY": "\(Int(1.5e6 * planned) + 32 << 20)"]
    let alone = try FakeRun().train(ranks: 1, flags, room)
    #expect(alone.exitCode == 0, "\(alone.errors)")
    #expect(!alone.errors.contains("share"))

    let shared = try FakeRun().train(flags + ["--gradient-checkpointing", "off"], room)
    #expect(shared.exitCode != 0)
    for words in [
      "note: ranks 0, 1 share Fake 0 at 0000:01:00.0; they take its memory together",
      "the run does not fit: it needs", "; ranks 0, 1 share Fake 0 at 0000:01:00.0",
      "2 ranks, 2 on a host, 2 on a GPU", "needed per GPU", "1 rank on each GPU",
    ] {
      #expect(shared.errors.contains(words), "\(words) is not in \(shared.errors)")
    }
    let plenty = try FakeRun().train(flags)
    #expect(plenty.exitCode == 0, "\(plenty.errors)")
    #expect(plenty.errors.contains("note: ranks 0, 1 share Fake 0 at 0000:01:00.0"))
  }

  /// `plan` holds the ranks of a host against the GPUs that there are.
  @Test func planOfSeveralRanks() throws {
    func plan(gpus: Int, _ flags: [String] = []) throws -> String {
      let run = try ProgramRun(
        [
          "plan", "--device", "cuda", "--ranks", "4", "--model",
          FakeRun.configuration("llama-tied-head"), "--max-length", "2048",
        ] + flags, environment: FakeLibraries.environment(["FAKE_COUNT": "\(gpus)"]))
      #expect(run.exitCode == 0, "\(run.errors)")
      return run.output
    }
    #expect(try plan(gpus: 4).contains("4 ranks, 4 on a host, 1 on a GPU"))
    let shared = try plan(gpus: 2)
    #expect(shared.contains("4 ranks, 4 on a host, 2 on a GPU"))
    #expect(shared.contains("needed per GPU") && shared.contains("of 80.0 GB: fits"), "\(shared)")
    // Slices that MPI sends lie on the host.
    let slices = "base: dense weights"
    let sharded = ["--shard", "full"]
    #expect(try plan(gpus: 4, sharded).contains(slices))
    #expect(try !plan(gpus: 4, sharded + ["--collectives", "mpi"]).contains(slices))
    #expect(try !plan(gpus: 2, sharded).contains(slices))
  }
}
