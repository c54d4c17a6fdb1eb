package import Compute
package import DistributedTraining
package import Support

/// One run of `test`.
package struct SelfTest {
  let configuration: SelfTestConfiguration
  let environment: ProgramEnvironment
  let group: any ProcessGroup
  let makeBackend: (ModelOptions) throws -> any Backend
  let write: (String) -> Void

  /// - Parameters:
  ///   - configuration: of the command.
  ///   - environment: of the process.
  ///   - group: the ranks.
  ///   - makeBackend: the device to test; nil for the program's own.
  ///   - write: takes the lines of the result.
  package init(
    configuration: SelfTestConfiguration, environment: ProgramEnvironment,
    group: any ProcessGroup, makeBackend: ((ModelOptions) throws -> any Backend)? = nil,
    write: @escaping (String) -> Void = { Console.writeOutput($0) }
  ) {
    self.configuration = configuration
    self.environment = environment
    self.group = group
    self.makeBackend =
      makeBackend
      ?? {
        try Assembly.backend($0, environment: environment, localRank: group.localRank).backend
      }
    self.write = write
  }

  /// Runs the checks.
  ///
  /// - Parameter checks: the same on every rank.
  /// - Returns: the exit code, 1 when a check failed.
  /// - Throws: ``UserError`` when this rank can take no further part, after it has said so.
  package func run(_ checks: [SelfTestCheck]) throws -> Int32 {
    let start = SteadyClock.seconds()
    let stage = try SelfTestStage(
      configuration: configuration, environment: environment, group: group,
      makeBackend: makeBackend)
    defer { stage.removeFiles() }
    let hostCount = try stage.hostCount()
    tell(
      "accelerate-swift \(programVersion) test: \(Self.count(group.worldSize, "rank")) on "
        + "\(Self.count(hostCount, "host")), \(try stage.backend(.float32).summary)")
    var report = SelfTestReport(device: try stage.backend(.float32).summary, group: group)
    var failed: [String] = []
    var (passedCount, skippedCount) = (0, 0)
    for check in checks {
      guard group.worldSize >= check.minimumRanks else {
        skippedCount += 1
        tell("SKIP  \(check.name): needs \(check.minimumRanks) ranks or more")
        continue
      }
      let outcome = try self.outcome(of: check, stage)
      let verdicts = try group.allGather([outcome.isRight ? 1 : 0])
      let culprit = verdicts.firstIndex { $0 != [1] }
      // The first rank that found a difference tells it.
      let detail = try group.broadcast(outcome.detail, from: culprit ?? 0)
      report.add(check.name, isRight: culprit == nil, detail, outcome.figures)
      guard let culprit else {
        passedCount += 1
        tell("OK    \(check.name): \(detail)")
        continue
      }
      failed.append(check.name)
      let place = group.worldSize > 1 ? " (rank \(culprit))" : ""
      tell("FAIL  \(check.name)\(place): \(detail)")
    }
    let isUseless = passedCount == 0 && skippedCount > 0
    if isUseless {
      tell("FAIL: all checks need more ranks, as of launch --nproc 2")
    } else if failed.isEmpty {
      let time = NumberText.fixed(SteadyClock.seconds() - start, digits: 1)
      tell(
        "OK: \(Self.count(passedCount, "check")) passed in \(time) s"
          + (skippedCount > 0 ? "; \(skippedCount) need more ranks, as of launch --nproc 2" : ""))
    } else {
      tell(
        "FAIL: \(failed.count) of \(failed.count + passedCount) checks: "
          + failed.joined(separator: "; "))
    }
    if group.rank == 0, let path = configuration.jsonPath { try report.write(path) }
    // A rank that ends with an error ends the others: not before all is said.
    try group.barrier()
    return failed.isEmpty && !isUseless ? ExitCode.success : ExitCode.failure
  }

  /// With one rank an error is the outcome. With more, the others are where this rank never comes,
  /// so that it ends the job.
  private func outcome(of check: SelfTestCheck, _ stage: SelfTestStage) throws -> SelfTestOutcome {
    do {
      return try check.run(stage)
    } catch {
      guard group.worldSize > 1 else { return SelfTestOutcome(false, "\(error)") }
      write("FAIL  \(check.name) (rank \(group.rank)): \(error)\n")
      throw UserError(
        .distributed, at: "test", "the check \"\(check.name)\" could not end: \(error)")
    }
  }

  private func tell(_ line: String) {
    if group.rank == 0 { write(line + "\n") }
  }

  private static func count(_ number: Int, _ noun: String) -> String {
    "\(number) \(noun)\(number == 1 ? "" : "s")"
  }
}

/// See ``TrainCommand``.
package enum TestCommand {
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> SelfTestConfiguration?
  {
    try SelfTestConfiguration.parser.optionsOrHelp(arguments).map { SelfTestConfiguration($0) }
  }

  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    let checks = SelfTestCheck.all(configuration)
    guard !checks.isEmpty else {
      throw UserError(
        .usage, at: "--only", "no check's name holds \"\(configuration.only ?? "")\"",
        fix: "leave it out to see the names")
    }
    return RankJob.run { group in
      try SelfTest(configuration: configuration, environment: environment, group: group).run(checks)
    }
  }
}
