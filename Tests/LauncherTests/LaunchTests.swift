import DistributedTraining
import Glibc
import Support
import TestSupport
import Testing

/// These start real jobs with mpirun.
@Suite(.serialized, .timeLimit(.minutes(3))) struct LaunchTests {
  private func launch(
    _ rankCount: Int, _ words: String..., environment: [String: String?] = [:]
  ) throws -> ProgramRun {
    try ProgramRun(
      ["launch", "--nproc", "\(rankCount)", "_rank-test"] + words, environment: environment)
  }

  /// Pieces of 100 bytes cut every transfer in several; the default leaves each in one.
  @Test(arguments: [1, 2, 3, 4], ["piece=100", "piece=268435456"])
  func collectivesAreRight(_ rankCount: Int, _ piece: String) throws {
    let run = try launch(rankCount, piece, "collectives=1000")
    #expect(run.exitCode == 0, "\(run.errors)")
    let expected = (0..<rankCount).map { rank in
      (rank == 0 ? "" : "[rank \(rank)] ") + "collectives right on \(rank) of \(rankCount)"
    }
    #expect(run.outputLines.sorted() == expected.sorted())
    #expect(run.errors.isEmpty)
  }

  @Test func outputIsMarkedByRankAndKeptApart() throws {
    let run = try launch(3, "say=hello", "0:raw=50%")
    #expect(run.exitCode == 0)
    #expect(run.outputLines.sorted() == ["[rank 1] hello", "[rank 2] hello", "hello"])
    let errors = run.errors
    for part in ["hello\n", "[rank 1] hello\n", "[rank 2] hello\n", "50%"] {
      #expect(errors.contains(part))
    }
  }

  @Test func linesOfRanksStayWhole() throws {
    let run = try launch(4, "lines=40")
    #expect(run.exitCode == 0)
    let expected = (0..<4).flatMap { rank in
      (0..<40).map { (rank == 0 ? "" : "[rank \(rank)] ") + "out \($0) of \(rank)" }
    }
    #expect(run.outputLines.sorted() == expected.sorted())
    #expect(run.errors.utf8.count { $0 == UInt8(ascii: "\n") } == 160)
  }

  @Test func verboseShowsWhatMPIRunSays() throws {
    let run = try ProgramRun(
      ["launch", "--verbose", "--nproc", "2", "_rank-test", "1:raw=[half", "1:exit=9", "sleep=30"])
    #expect(run.exitCode == 9)
    #expect(run.errors.contains("mpirun "))
    #expect(run.errors.contains(" -n 2 -H localhost:2 "))
    #expect(run.errors.ranges(of: "[rank 1] [half").count == 1)
  }

  @Test func theFailingRankIsNamedAndItsCodeReturned() throws {
    let run = try launch(4, "2:throw=the loss is not finite", "sleep=30")
    #expect(run.exitCode == ExitCode.notFinite)
    #expect(
      run.errors == """
        [rank 2] error: step 3: the loss is not finite
        [rank 2]   fix: lower --lr
        error: rank 2 on localhost exited with code 3; the other ranks were stopped

        """)
  }

  @Test func anErrorOfAllRanksIsPrintedOnce() throws {
    let run = try launch(3, "throw=no such model")
    #expect(run.exitCode == ExitCode.notFinite)
    #expect(run.errors.split(separator: "\n").filter { $0.contains("no such model") }.count == 1)
  }

  @Test func aSilentExitIsReported() throws {
    let run = try launch(4, "0:raw=step 1", "3:exit=7", "sleep=30")
    #expect(run.exitCode == 7)
    #expect(run.errors.hasPrefix("step 1\nerror: rank 3 on localhost (pid "))
    #expect(run.errors.contains(") exited with code 7 in phase starting"))
    #expect(run.errors.hasSuffix("; the other ranks were stopped\n"))
  }

  @Test func aKilledRankIsReported() throws {
    let run = try launch(4, "2:signal=9", "sleep=30")
    #expect(run.exitCode == 137)
    #expect(run.errors.contains("error: rank 2 on "))
    #expect(run.errors.contains("signal 9 (SIGKILL"))
    #expect(!run.errors.contains("-----"))
  }

  @Test func aRequeueIsNoError() throws {
    let run = try launch(2, "exit=75")
    #expect(run.exitCode == ExitCode.savedPleaseRequeue)
    #expect(!run.errors.contains("error:"))
  }

  @Test(arguments: [SIGTERM, SIGINT])
  func aStoppedJobLeavesNoProcess(_ signal: Int32) throws {
    let mark = "sleep=45.\(UInt32.random(in: 1_000_000...9_999_999))"
    let clock = ContinuousClock()
    var stopped = clock.now
    let run = try ProgramRun(["launch", "--nproc", "4", "_rank-test", mark]) { process in
      // launch and mpirun carry the mark too.
      for _ in 0..<200 where ((try? ProgramRun.count(marked: mark)) ?? 0) < 6 { usleep(50_000) }
      usleep(500_000)
      stopped = clock.now
      kill(process, signal)
    }
    #expect(run.exitCode == 128 + signal)
    #expect(clock.now - stopped < .seconds(10))
    #expect(try ProgramRun.count(marked: mark) == 0)
    #expect(run.errors.contains("stopped by signal \(signal)"))
  }

  @Test func nothingOutlivesAKilledLaunch() throws {
    let mark = "sleep=44.\(UInt32.random(in: 1_000_000...9_999_999))"
    let run = try ProgramRun(["launch", "--nproc", "3", "_rank-test", mark]) { process in
      for _ in 0..<200 where ((try? ProgramRun.count(marked: mark)) ?? 0) < 5 { usleep(50_000) }
      usleep(300_000)
      kill(process, SIGKILL)
    }
    #expect(run.exitCode == 137)
    for _ in 0..<200 where try ProgramRun.count(marked: mark) > 0 { usleep(50_000) }
    #expect(try ProgramRun.count(marked: mark) == 0)
  }

  @Test func oneRankNeedsNoMPI() throws {
    let hidden: [String: String?] = ["ACCELERATE_MPI_LIB": "/nonexistent", "PATH": "/nonexistent"]
    let run = try launch(1, "collectives=100", environment: hidden)
    #expect(run.exitCode == 0)
    #expect(run.output == "collectives right on 0 of 1\n")
    let two = try launch(2, "collectives=100", environment: ["PATH": "/nonexistent"])
    #expect(two.exitCode == ExitCode.failure)
    #expect(
      two.errors == """
        error: mpirun: not found on PATH, but several ranks are started with it
          fix: apt-get install openmpi-bin

        """)
  }

  @Test func aMissingLibraryIsExplainedOnce() throws {
    let run = try launch(
      2, "collectives=100", environment: ["ACCELERATE_MPI_LIB": "/nonexistent/libmpi.so"])
    #expect(run.exitCode == ExitCode.failure)
    #expect(run.errors.split(separator: "\n").filter { $0.contains("/nonexistent/") }.count == 1)
  }

  @Test func ranksShareTheCores() throws {
    let run = try launch(2, "environment=ACCELERATE_THREADS")
    let threads = max(1, CPUBudget.coreCount() / 2)
    #expect(run.outputLines.sorted() == ["[rank 1] \(threads)", "\(threads)"].sorted())
    let chosen = try launch(
      2, "environment=ACCELERATE_THREADS", environment: ["ACCELERATE_THREADS": "5"])
    #expect(chosen.outputLines.sorted() == ["5", "[rank 1] 5"])
  }

  @Test func dangerousSettingsAreDroppedWithAWarning() throws {
    let path = "/tmp/accelerate-swift-test-\(UInt64.random(in: 0...UInt64.max))"
    let run = try launch(
      2, "environment=OMPI_MCA_foo_bar", environment: ["OMPI_MCA_foo_bar": "\"; touch \(path); \""])
    #expect(run.exitCode == 0)
    #expect(run.outputLines.sorted() == ["[rank 1] unset", "unset"])
    #expect(run.errors.contains("warning: the environment variable OMPI_MCA_foo_bar is ignored"))
    #expect(!FileSystem.exists(path))
  }

  @Test func mistakesAreExplained() throws {
    let run = try ProgramRun(["launch", "--nproc", "zero", "train"])
    #expect(run.exitCode == ExitCode.usage)
    #expect(run.errors.hasPrefix("error: --nproc: \"zero\" is not a number of ranks"))
    let help = try ProgramRun(["launch", "--help"])
    #expect(help.exitCode == 0)
    #expect(help.output == LaunchOptions.help)
  }

  @Test func aHostfileOfThisMachineWorks() throws {
    let path = "/tmp/accelerate-swift-test-hosts-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.write(Array("localhost slots=2\n".utf8), to: path)
    defer { try? FileSystem.remove(path) }
    let run = try ProgramRun(["launch", "--hostfile", path, "_rank-test", "say=x"])
    #expect(run.exitCode == 0)
    #expect(run.outputLines.sorted() == ["[rank 1] x", "x"])
  }
}
