import DistributedTraining
import Glibc
import Support
import Testing

/// Jobs that plain mpirun has started: rank 0 names the first failure, and nothing is left.
@Suite(.serialized, .timeLimit(.minutes(3))) struct RankZeroTests {
  private func job(_ words: [String], seconds: String = "60") throws -> JobRun {
    let starter = [
      "/usr/bin/env", "mpirun", "--oversubscribe", "--bind-to", "none", "--mca",
      "mpi_yield_when_idle", "1", "-n", "4",
    ]
    return try JobRun(
      words, starter: starter,
      variables: [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "ACCELERATE_TIMEOUT_SECONDS": seconds,
      ])
  }

  /// A job whose ranks wait in a barrier for rank 2, which sleeps.
  private func waitingJob() throws -> JobRun {
    let job = try job(["_rank-test", "barrier", "step=3", "0:say=ready", "2:sleep=50", "barrier"])
    #expect(job.waitUntil { job.text.contains("ready") && job.rank(2) != nil })
    usleep(700_000)
    return job
  }

  private func expectGone(_ job: JobRun, since start: Double) {
    #expect(job.wait(seconds: 20) > 0)
    #expect(job.waitUntil(seconds: 3) { job.members.isEmpty }, "left: \(job.members)")
    #expect(SteadyClock.seconds() - start < 10)
  }

  @Test func aJobThatEndsWellSaysNothing() throws {
    let job = try job(["_rank-test", "barrier", "collectives=1000", "3:sleep=1", "barrier"])
    #expect(job.wait() == 0)
    #expect(!job.text.contains("error"), "\(job.text)")
  }

  @Test(arguments: [
    (SIGKILL, "has ended without a word in phase step, step 3"),
    (SIGSTOP, "has been silent for 3."),
  ])
  func aRankIsNamedWithinFiveSeconds(_ signal: Int32, _ words: String) throws {
    let job = try waitingJob()
    let rank = try #require(job.rank(2))
    let start = SteadyClock.seconds()
    kill(rank, signal)
    #expect(job.waitUntil(seconds: 10) { job.text.contains("error: rank 2 on ") }, "\(job.text)")
    #expect(SteadyClock.seconds() - start < 5)
    #expect(job.text.contains("(pid \(rank)) \(words)"), "\(job.text)")
    expectGone(job, since: start)
  }

  @Test(arguments: [SIGKILL, SIGSTOP])
  func theOthersEndWithoutRankZero(_ signal: Int32) throws {
    let job = try waitingJob()
    let rank = try #require(job.rank(0))
    let start = SteadyClock.seconds()
    kill(rank, signal)
    expectGone(job, since: start)
    if signal == SIGSTOP {
      #expect(job.text.contains("nothing was heard from rank 0 for 8 s"), "\(job.text)")
    }
  }

  /// Nobody but the ranks themselves can end them.
  @Test func ranksEndWithoutTheHelpOfMPIRun() throws {
    let job = try waitingJob()
    let mpirun = try #require(
      job.members.first { (KernelFile.firstLine("/proc/\($0)/comm") ?? "").hasPrefix("mpirun") })
    let start = SteadyClock.seconds()
    kill(mpirun, SIGSTOP)
    kill(try #require(job.rank(2)), SIGKILL)
    #expect(job.waitUntil(seconds: 10) { (0..<4).allSatisfy { job.rank($0) == nil } })
    #expect(SteadyClock.seconds() - start < 10)
    kill(mpirun, SIGKILL)
    kill(mpirun, SIGCONT)
    _ = job.wait()
  }

  @Test func aRankThatIsBehindIsNamed() throws {
    let start = SteadyClock.seconds()
    let job = try job(
      ["_rank-test", "barrier", "step=7", "2:hang", "barrier"], seconds: "60,step=3")
    #expect(job.wait() == ExitCode.supervised)
    #expect(job.text.contains("error: rank 2 on "), "\(job.text)")
    #expect(job.text.contains("in phase step, step 7; 3 others wait for it"))
    #expect(SteadyClock.seconds() - start < 15)
  }

  @Test func anErrorOfARankIsItsOwn() throws {
    let job = try job(["_rank-test", "barrier", "2:throw=the loss is nan", "barrier"])
    #expect(job.wait() == ExitCode.notFinite)
    #expect(job.text.contains("[rank 2] error: step 3: the loss is nan"))
    #expect(!job.text.contains("without a word"))
  }
}
