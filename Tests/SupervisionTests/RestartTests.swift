import DistributedTraining
import Glibc
import Support
import Testing

/// Runs that are killed or stopped and go on: their adapter is that of an undisturbed run.
@Suite(.serialized, .timeLimit(.minutes(5))) struct RestartTests {
  @Test func aRestartAfterAKillChangesNothing() throws {
    let training = Training()
    defer { training.remove() }
    let job = try JobRun(training.arguments(launch: ["--nproc", "2", "--max-restarts", "1"]))
    #expect(job.waitUntil { training.step >= 10 })
    kill(try #require(job.rank(1)), SIGKILL)
    #expect(job.wait() == 0, "\(job.text)")
    #expect(job.text.contains("restart 1 of 1 in 1 s, from the checkpoint of step "))
    #expect(training.adapter != nil && training.adapter == Training.undisturbed)
    #expect(training.metrics == Array(1...40))
  }

  @Test func aRunWithoutCheckpointStartsAgain() throws {
    let training = Training()
    defer { training.remove() }
    let job = try JobRun(training.arguments(launch: ["--nproc", "2", "--max-restarts", "1"]))
    #expect(job.waitUntil { training.step >= 1 })
    kill(try #require(job.rank(0)), SIGKILL)
    #expect(job.wait() == 0, "\(job.text)")
    #expect(training.adapter == Training.undisturbed)
    #expect(training.metrics == Array(1...40))
  }

  @Test(arguments: [SIGTERM, SIGINT, SIGUSR1], [1, 2])
  func aSignalSavesAndTheRunGoesOn(_ signal: Int32, _ rankCount: Int) throws {
    let training = Training()
    defer { training.remove() }
    let flags = ["--nproc", "\(rankCount)"]
    let job = try JobRun(training.arguments(launch: flags))
    #expect(job.waitUntil { training.step >= 5 })
    kill(job.process, signal)
    #expect(job.wait() == ExitCode.savedPleaseRequeue, "\(job.text)")
    #expect(job.text.contains("--resume --output \(training.output)"))
    #expect(job.members.isEmpty)
    let stopped = training.step
    #expect(stopped < 40)
    #expect(FileSystem.exists("\(training.output)/checkpoint-\(stopped)/manifest.json"))
    let resumed = try JobRun(training.arguments(launch: flags, ["--resume"]))
    #expect(resumed.wait() == 0, "\(resumed.text)")
    #expect(resumed.text.contains("resuming after step \(stopped)"))
    #expect(training.adapter == Training.undisturbed)
  }

  @Test func oneRankWithoutLaunchSavesToo() throws {
    let training = Training()
    defer { training.remove() }
    let arguments = Array(training.arguments(launch: []).dropFirst())
    let job = try JobRun(arguments)
    #expect(job.waitUntil { training.step >= 5 })
    kill(job.process, SIGTERM)
    #expect(job.wait() == ExitCode.savedPleaseRequeue, "\(job.text)")
    let resumed = try JobRun(arguments + ["--resume"])
    #expect(resumed.wait() == 0)
    #expect(training.adapter == Training.undisturbed)
  }

  @Test func aSecondSignalEndsAtOnce() throws {
    let training = Training()
    defer { training.remove() }
    let job = try JobRun(
      training.arguments(launch: ["--nproc", "2", "--grace-seconds", "30"]))
    #expect(job.waitUntil { training.step >= 3 })
    // A rank that cannot save.
    kill(try #require(job.rank(1)), SIGSTOP)
    kill(job.process, SIGTERM)
    usleep(300_000)
    let start = SteadyClock.seconds()
    kill(job.process, SIGTERM)
    #expect(job.wait() == 128 + SIGTERM)
    #expect(SteadyClock.seconds() - start < 5)
    #expect(job.waitUntil(seconds: 3) { job.members.isEmpty })
  }

  @Test func theGraceEnds() throws {
    let training = Training()
    defer { training.remove() }
    let job = try JobRun(
      training.arguments(launch: ["--nproc", "2", "--grace-seconds", "1"]))
    #expect(job.waitUntil { training.step >= 3 })
    kill(try #require(job.rank(1)), SIGSTOP)
    kill(job.process, SIGTERM)
    let code = job.wait(seconds: 10)
    #expect(code == 128 + SIGTERM || code == ExitCode.supervised)
    #expect(job.waitUntil(seconds: 3) { job.members.isEmpty })
  }

  @Test func mistakesAndNonFiniteNumbersAreNotRestarted() throws {
    for (word, code) in [("1:throw=the loss is nan", ExitCode.notFinite), ("1:exit=2", 2)] {
      let job = try JobRun([
        "launch", "--nproc", "2", "--max-restarts", "5", "_rank-test", "barrier", word, "barrier",
      ])
      #expect(job.wait() == code)
      #expect(job.text.contains("not restarted: "), "\(job.text)")
      #expect(!job.text.contains("restart 1"))
    }
  }

  @Test func theSameErrorAtTheSameStepTwiceEndsTheJob() throws {
    let job = try JobRun([
      "launch", "--nproc", "2", "--max-restarts", "5", "_rank-test", "barrier", "step=4",
      "1:fail=the device is broken", "barrier",
    ])
    #expect(job.wait() == ExitCode.failure)
    #expect(job.text.ranges(of: "restart 1 of 5").count == 1, "\(job.text)")
    #expect(!job.text.contains("restart 2"))
    #expect(job.text.contains("not restarted: the same error at the same step twice"))
  }

  @Test func killsUseUpTheBudget() throws {
    let job = try JobRun([
      "launch", "--nproc", "2", "--max-restarts", "2", "_rank-test", "barrier", "1:signal=9",
      "barrier",
    ])
    #expect(job.wait() == 137)
    #expect(job.text.contains("restart 2 of 2 in 2 s, from the beginning: rank 1 on "))
    #expect(job.text.contains("not restarted: 2 restarts without a new checkpoint"))
  }
}
