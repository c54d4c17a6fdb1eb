import Testing
import Trainer

/// The command with which a job is started again.
@Suite struct ResumingTests {
  @Test(arguments: [
    (["train"], ["train", "--resume", "--output=runs/demo-1"]),
    (["train", "--resume"], ["train", "--resume", "--output=runs/demo-1"]),
    (
      ["train", "--resume=false", "--output", "runs/demo-1"],
      ["train", "--output", "runs/demo-1", "--resume"]
    ),
    (
      ["train", "--output=runs/demo-1", "--lr", "1"],
      ["train", "--output=runs/demo-1", "--lr", "1", "--resume"]
    ),
  ])
  func resumeAndOutputAreGivenOnce(_ command: [String], _ expected: [String]) {
    #expect(TrainCommand.resuming(command, output: "runs/demo-1") == expected)
  }
}
