import Compute
import ComputeCUDA
import Support
import TestSupport
import Testing

/// `train` over two ranks whose stand-ins for cuBLASLt propose different algorithms: which are used,
/// and what becomes of them in a run that goes on. Kernels do nothing here; products are computed.
@Suite(
  .serialized, .timeLimit(.minutes(5)),
  .enabled(if: FakeLibraries.areThere, FakeLibraries.needs))
struct ProductRunTests {
  private static let flags = [
    "--data", "synthetic:16x13", "--max-length", "16", "--samples-per-pack", "1", "--save-steps",
    "1",
  ]

  /// The process that proposed an algorithm, by the stand-in's first four bytes.
  private func proposer(_ algorithm: some Collection<Character>) -> String {
    String(algorithm.prefix(8))
  }

  @Test func choicesOfRank0AreUsedRecordedAndResumed() throws {
    let place = try FakeRun()
    let first = try place.train(Self.flags + ["--max-steps", "1"])
    #expect(first.exitCode == 0, "\(first.errors)")
    let (chosen, text) = try place.choices()
    #expect(chosen.device == "Fake 0, sm_90, 132 multiprocessors")
    #expect(chosen.library == "cuBLASLt 13.1.0" && chosen.driver == "for CUDA 13.0")
    #expect(try place.choices("checkpoint-1/").text == text)
    // Of the stand-in's five proposals one splits sums and one takes too much memory.
    #expect(chosen.algorithms.count > 10)
    #expect(chosen.algorithms.values.allSatisfy { $0.map { $0[4] } == [2, 3, 4] })
    let logs = try place.takeLogs()
    #expect(logs.count == 2)
    let known = Set(text.split(separator: "\"").map(String.init))
    for log in logs {
      #expect(log.isSubset(of: known))
      // The pack's 13 rows are an odd number, which the first choice does not take.
      #expect(log.contains { $0.dropFirst(8).hasPrefix("02") })
      #expect(log.contains { $0.dropFirst(8).hasPrefix("03") })
    }
    let proposers = Set(logs.flatMap { $0.map { proposer($0) } })
    #expect(proposers.count == 1)

    // Other processes go on with the same algorithms.
    let second = try place.train(Self.flags + ["--max-steps", "2", "--resume"])
    #expect(second.exitCode == 0, "\(second.errors)")
    #expect(second.errors.contains("resuming after step 1"))
    #expect(!second.errors.contains("chosen anew"))
    #expect(try place.choices().text == text)
    #expect(try place.choices("checkpoint-2/").text == text)
    #expect(Set(try place.takeLogs().flatMap { $0.map { proposer($0) } }) == proposers)

    // Another library makes others, and it is told.
    let third = try place.train(
      Self.flags + ["--max-steps", "3", "--resume"], ["FAKE_LT_VERSION": "130200"])
    #expect(third.exitCode == 0, "\(third.errors)")
    #expect(
      third.errors.contains(
        "note: the algorithms of products are chosen anew for Fake 0, sm_90, 132 multiprocessors "
          + "with cuBLASLt 13.2.0; the checkpoint's are of Fake 0, sm_90, 132 multiprocessors with "
          + "cuBLASLt 13.1.0"), "\(third.errors)")
    #expect(try place.choices("checkpoint-3/").choices.library == "cuBLASLt 13.2.0")
    #expect(
      Set(try place.takeLogs().flatMap { $0.map { proposer($0) } }).isDisjoint(with: proposers))
  }

  /// GPUs of different names, before the first step.
  @Test func unequalGPUsAreNamed() throws {
    let run = try FakeRun().train(Self.flags + ["--max-steps", "1"], ["FAKE_COUNT": "2"])
    #expect(run.exitCode != 0)
    #expect(
      run.errors.contains("rank 1: products are computed on Fake 0, sm_90, 132 multiprocessors"),
      "\(run.errors)")
    #expect(run.errors.contains("here are Fake 1, sm_90"))
  }

  /// Own kernels multiply where the library has no algorithm, and on all ranks.
  @Test func libraryWithoutAlgorithms() throws {
    let place = try FakeRun()
    let run = try place.train(Self.flags + ["--max-steps", "1"], ["FAKE_LT_NONE": "1"])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(try place.choices().choices.algorithms.values.allSatisfy(\.isEmpty))
    #expect(try place.takeLogs().isEmpty)
  }
}
