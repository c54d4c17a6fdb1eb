import Support
import TestSupport
import Testing

/// What a user sees of the dispatch. Runs the program that was built beside the tests.
@Suite struct DispatchTests {
  @Test func helpAndVersionGoToStandardOutput() throws {
    for arguments in [["--help"], ["-h"], ["help"]] {
      let run = try ProgramRun(arguments)
      #expect(run.exitCode == 0)
      #expect(run.output.hasPrefix("usage: accelerate-swift COMMAND [flags]\n"))
      #expect(run.errors.isEmpty)
      for command in ["train", "data", "evaluate", "generate", "tokenize", "test", "launch"] {
        #expect(run.output.contains("\n  \(command) "))
      }
    }
    let version = try ProgramRun(["--version"])
    #expect(version.output == "accelerate-swift 0.1.0\n")
    #expect(version.exitCode == 0)
  }

  @Test(arguments: ["train", "data", "evaluate", "generate", "tokenize", "test", "launch"])
  func everyCommandHasHelp(_ command: String) throws {
    let run = try ProgramRun([command, "--help"])
    #expect(run.exitCode == 0)
    #expect(run.output.contains("usage: accelerate-swift \(command)"))
    #expect(run.errors.isEmpty)
  }

  @Test func noCommandIsAMistake() throws {
    let run = try ProgramRun([])
    #expect(run.exitCode == ExitCode.usage)
    #expect(run.output.isEmpty)
    #expect(run.errors.hasPrefix("usage: "))
  }

  @Test func mistakesGoToStandardErrorWithAFix() throws {
    let unknown = try ProgramRun(["trian"])
    #expect(unknown.exitCode == ExitCode.usage)
    #expect(unknown.output.isEmpty)
    #expect(
      unknown.errors
        == "error: there is no command \"trian\"\n  fix: did you mean `accelerate-swift train`?\n")
    let flag = try ProgramRun(["train", "--sede", "1"])
    #expect(flag.exitCode == ExitCode.usage)
    #expect(
      flag.errors
        == "error: accelerate-swift train: there is no flag --sede\n  fix: did you mean --seed?\n")
  }

  @Test func launchTellsAMistakeOfTheCommandOnce() throws {
    let run = try ProgramRun(["launch", "--nproc", "3", "train", "--lr", "0"])
    #expect(run.exitCode == ExitCode.usage)
    #expect(run.errors == "error: --lr: 0 is out of range; it must be greater than 0\n")
    let help = try ProgramRun(["launch", "--nproc", "3", "generate", "--help"])
    #expect(help.exitCode == 0)
    #expect(help.output.hasPrefix("usage: accelerate-swift generate"))
    #expect(try ProgramRun(["launch", "launch", "train"]).exitCode == ExitCode.usage)
  }

  @Test(arguments: ["ACCELERATE_THREADS", "ACCELERATE_TERMINAL_COLUMNS", "ACCELERATE_CACHE_GB"])
  func variablesAreChecked(_ name: String) throws {
    let run = try ProgramRun(["--version"], environment: [name: "many"])
    #expect(run.exitCode == ExitCode.usage)
    #expect(run.errors.hasPrefix("error: environment variable \(name): \"many\" is out of range"))
  }
}
