import DistributedTraining
import Glibc
import Support
import Testing

/// Runs in which a random rank is killed at a random time: ten of them, or as many as the variable
/// ACCELERATE_SOAK_KILLS says (`make soak`).
@Suite(.serialized, .timeLimit(.minutes(120))) struct SoakTests {
  private static let killCount =
    KernelFile.environment()["ACCELERATE_SOAK_KILLS"].flatMap { Int($0) } ?? 10

  /// Whatever a rank does when it is killed: start, load, compute, exchange, save.
  @Test func randomKillsChangeNothing() throws {
    let undisturbed = try #require(Training.undisturbed)
    var (killed, restarts, sameAdapters, damaged, orphans) = (0, 0, 0, 0, 0)
    var number = 0
    // A run that was over before its kill does not count.
    while killed < Self.killCount && number < 2 * Self.killCount {
      number += 1
      let training = Training()
      defer { training.remove() }
      let job = try JobRun(training.arguments(launch: ["--nproc", "2", "--max-restarts", "3"]))
      #expect(job.waitUntil { job.rank(1) != nil })
      usleep(UInt32.random(in: 0...2_500_000))
      let victim = Int.random(in: 0...1)
      if let rank = job.rank(victim), kill(rank, SIGKILL) == 0 { killed += 1 }
      #expect(job.wait(seconds: 120) == 0, "run \(number), rank \(victim): \(job.text)")
      if job.text.contains("restart 1 of 3") { restarts += 1 }
      if training.adapter == undisturbed { sameAdapters += 1 }
      // Every restart verifies the newest checkpoint, and says so when it has to pass over it.
      let complaints = ["the checkpoint before it is used", "checkpoints is whole"]
      if complaints.contains(where: job.text.contains) { damaged += 1 }
      if !job.waitUntil(seconds: 5, { job.members.isEmpty }) { orphans += 1 }
      #expect(training.adapter == undisturbed, "run \(number), rank \(victim): \(job.text)")
    }
    print(
      "soak: \(killed) kills in \(number) runs, \(restarts) restarts, \(sameAdapters) adapters "
        + "byte-equal, \(damaged) damaged checkpoints, \(orphans) runs with orphans")
    #expect(killed >= Self.killCount && sameAdapters == number)
    #expect(damaged == 0 && orphans == 0)
  }
}
