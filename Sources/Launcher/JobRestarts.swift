import DistributedTraining
import Glibc
import Support
import Trainer

/// Runs a job, and runs it again from its newest checkpoint when it fails.
struct JobRestarts {
  let options: LaunchOptions
  /// Makes the job of an attempt.
  let makeJob: ([String]) -> LaunchSupervisor.Job
  let environment: [String: String]
  let isRemote: Bool
  /// The run's directory, as first chosen; known later when the program chooses it.
  private var output: String?
  private var savedStep = 0

  init(
    options: LaunchOptions, environment: [String: String], isRemote: Bool,
    makeJob: @escaping ([String]) -> LaunchSupervisor.Job
  ) throws(UserError) {
    self.options = options
    self.environment = environment
    self.isRemote = isRemote
    self.makeJob = makeJob
    if isTraining {
      output = try TrainCommand.configuration(Array(options.command.dropFirst()))?.output
    }
  }

  private var isTraining: Bool { options.command.first == "train" }

  /// - Returns: the exit code.
  mutating func run() throws(UserError) -> Int32 {
    let signals = LaunchSupervisor.blockSignals()
    var policy = RestartPolicy(maximum: options.maxRestarts)
    var isFirst = true
    while true {
      let server = try ControlServer(
        rankCount: makeJob(options.command).rankCount, isRemote: isRemote,
        chosen: options.controlAddress, leaseSeconds: options.leaseSeconds)
      var supervisor = LaunchSupervisor(
        makeJob(isFirst ? options.command : resumingCommand), server: server)
      let outcome = try supervisor.run(environment: environment)
      isFirst = false
      output = outcome.output ?? output
      savedStep = max(savedStep, outcome.savedStep, savedStepOnDisk)
      if outcome.exitCode == ExitCode.savedPleaseRequeue {
        tellHowToResume()
        return outcome.exitCode
      }
      guard outcome.exitCode != ExitCode.success, outcome.stopSignal == nil else {
        return outcome.exitCode
      }
      let decision = policy.decide(
        JobFailure(
          exitCode: outcome.exitCode, error: outcome.error, savedStep: savedStep,
          hasStarted: outcome.hasStarted))
      switch decision {
      case .giveUp(let reason):
        if let reason { LaunchTerminal.print(reason) }
        return outcome.exitCode
      case .restart(let number, let delay):
        let place =
          isTraining && savedStep > 0 && output != nil
          ? "from the checkpoint of step \(savedStep)" : "from the beginning"
        let reason = outcome.reason.prefix { $0 != "\n" && $0 != ";" }
        LaunchTerminal.print(
          "restart \(number) of \(options.maxRestarts) in \(Int(delay)) s, \(place): \(reason)")
        if let number = LaunchSupervisor.nextSignal(signals, seconds: delay) {
          LaunchTerminal.print("stopped by signal \(number) before the restart")
          guard isTraining, savedStep > 0 else { return 128 + number }
          tellHowToResume()
          return ExitCode.savedPleaseRequeue
        }
      }
    }
  }

  /// A rank may have ended before it could tell of its last checkpoint. 0 where the directory
  /// cannot be seen from here.
  private var savedStepOnDisk: Int {
    guard isTraining, let output else { return 0 }
    return (try? OutputDirectory.newestCheckpoint(in: output))?.step ?? 0
  }

  /// The command that goes on where the run was; the same again where there is nothing to resume.
  private var resumingCommand: [String] {
    guard isTraining, let output else { return options.command }
    return TrainCommand.resuming(options.command, output: output)
  }

  private func tellHowToResume() {
    guard isTraining, let output else {
      LaunchTerminal.print("stopped after saving; run again with --resume")
      return
    }
    LaunchTerminal.print(
      "stopped after saving (exit code \(ExitCode.savedPleaseRequeue)); "
        + "run the same command again with --resume --output \(output)")
  }
}
