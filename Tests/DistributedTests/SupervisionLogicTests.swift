import DistributedTraining
import Support
import Testing

/// The judge, the restart policy and the messages, without processes.
@Suite struct SupervisionLogicTests {
  private func judge(_ rankCount: Int, seconds: Double = 60) -> JobJudge {
    var limits = JobJudge.Limits()
    limits.seconds = seconds
    var judge = JobJudge(rankCount: rankCount, limits: limits, now: 0)
    for rank in 0..<rankCount {
      judge.hello(rank: rank, host: "node-\(rank)", process: Int32(100 + rank), now: 0)
    }
    return judge
  }

  private func report(
    step: Int = 1, collectives: Int, moves: Int, operation: String = ""
  ) -> RankReport {
    var report = RankReport()
    report.entries = step
    (report.phase, report.step, report.operation) = (.step, step, operation)
    (report.collectives, report.moves) = (collectives, moves)
    return report
  }

  @Test func ranksThatSpeakAndMoveAreFine() {
    var judge = judge(2)
    for second in 1...200 {
      for rank in 0..<2 {
        judge.report(
          report(step: second, collectives: second, moves: second), rank: rank, now: Double(second))
      }
      #expect(judge.verdict(now: Double(second) + 0.5) == nil)
    }
  }

  @Test func theSilentRankIsNamed() {
    var judge = judge(3)
    for tenth in 1...60 {
      for rank in [0, 2] {
        judge.report(report(collectives: 1, moves: tenth), rank: rank, now: Double(tenth) / 10)
      }
    }
    let verdict = judge.verdict(now: 6)
    #expect(verdict?.kind == .silent && verdict?.rank == 1)
    #expect(verdict?.text.hasPrefix("rank 1 on node-1 (pid 101) has been silent for 6 s") == true)
  }

  @Test func aJudgeThatWasStoppedItselfBlamesNobody() {
    var judge = judge(2)
    judge.paused(30)
    #expect(judge.verdict(now: 31) == nil)
    #expect(judge.verdict(now: 34)?.kind == .silent)
  }

  @Test func theRankBehindIsToBlame() {
    var judge = judge(3, seconds: 10)
    for second in 0...11 {
      let now = Double(second)
      judge.report(report(collectives: 5, moves: 9, operation: "exchange"), rank: 0, now: now)
      judge.report(report(collectives: 4, moves: 8), rank: 1, now: now)
      judge.report(report(collectives: 5, moves: 9, operation: "exchange"), rank: 2, now: now)
    }
    let verdict = judge.verdict(now: 11)
    #expect(verdict?.kind == .stuck && verdict?.rank == 1)
    #expect(verdict?.text.contains("no progress for 11 s (limit 10 s)") == true)
    #expect(verdict?.text.hasSuffix("2 others wait for it") == true)
  }

  /// A first step may take long while it moves, however long the others wait.
  @Test func waitingForARankThatMovesIsNoFault() {
    var judge = judge(2, seconds: 10)
    for second in 0...100 {
      let now = Double(second)
      judge.report(report(collectives: 5, moves: 60, operation: "exchange"), rank: 0, now: now)
      judge.report(report(collectives: 4, moves: second), rank: 1, now: now)
      #expect(judge.verdict(now: now) == nil)
    }
  }

  @Test func theLimitGrowsWithWhatWasSeen() {
    var judge = judge(1, seconds: 10)
    judge.report(report(collectives: 0, moves: 1), rank: 0, now: 0)
    // Nine seconds without progress, and then some.
    for second in 1...8 {
      judge.report(report(collectives: 0, moves: 1), rank: 0, now: Double(second))
    }
    judge.report(report(collectives: 0, moves: 2), rank: 0, now: 9)
    for second in 10...53 {
      judge.report(report(collectives: 0, moves: 2), rank: 0, now: Double(second))
      #expect(judge.verdict(now: Double(second)) == nil)
    }
    judge.report(report(collectives: 0, moves: 2), rank: 0, now: 55)
    #expect(judge.verdict(now: 55)?.text.contains("(limit 45 s)") == true)
  }

  @Test func allWaitingForEachOtherIsToldAsSuch() {
    var judge = judge(2, seconds: 10)
    for second in 0...11 {
      for rank in 0..<2 {
        judge.report(
          report(collectives: 5, moves: 9, operation: "exchange"), rank: rank, now: Double(second))
      }
    }
    #expect(judge.verdict(now: 11)?.text.contains("all 2 ranks wait: the network") == true)
  }

  /// Steps 1 and 2 take `seconds`, in which the slow rank moves `moves` times; then it goes on.
  private func longThirdStep(seconds: Int, moves: Int) -> Double? {
    var judge = judge(2, seconds: 10)
    var (now, count) = (0.0, 0)
    for step in 1...3 {
      let length = step == 3 ? 1000 : seconds
      for second in 0..<length {
        now += 1
        count += step == 3 ? 1 : moves / seconds
        judge.report(report(step: step, collectives: 2 * step, moves: count), rank: 1, now: now)
        let waits = second > 0
        judge.report(
          report(
            step: step, collectives: 2 * step + (waits ? 1 : 0), moves: step * 9,
            operation: waits ? "exchange" : ""), rank: 0, now: now)
        if let verdict = judge.verdict(now: now) {
          #expect(verdict.kind == .stuck && verdict.rank == 1)
          #expect(verdict.text.contains("has not come to an end for "), "\(verdict.text)")
          return Double(second)
        }
      }
    }
    return nil
  }

  /// Whatever moves inside a step, it may take five times the longest one seen.
  @Test func aRankThatGoesRoundInCirclesIsStuck() throws {
    let short = try #require(longThirdStep(seconds: 1, moves: 1))
    #expect((9...12).contains(short))
    let long = try #require(longThirdStep(seconds: 8, moves: 8))
    #expect((39...42).contains(long))
  }

  /// In a first step nothing is known of its length, but all ranks move alike.
  @Test func circlesInTheFirstStepAreSeenByComparison() {
    for (others, expected) in [(10, 11.0), (1_000_000, 600.0)] {
      var judge = judge(2, seconds: 10)
      for tenth in 0...10_000 {
        let now = Double(tenth) / 10
        judge.report(
          report(collectives: 3, moves: others, operation: "exchange"), rank: 0, now: now)
        judge.report(report(collectives: 2, moves: 20 * tenth), rank: 1, now: now)
        guard let verdict = judge.verdict(now: now) else { continue }
        #expect(verdict.kind == .stuck && verdict.rank == 1)
        #expect(abs(now - expected) < 1.5, "\(now)")
        break
      }
    }
  }

  /// A rank that writes a checkpoint keeps the others waiting; their step is not long for that.
  @Test func waitingDoesNotRaiseTheLimit() {
    var judge = judge(2, seconds: 10)
    judge.report(report(step: 1, collectives: 1, moves: 1), rank: 0, now: 0)
    judge.report(report(step: 1, collectives: 1, moves: 1), rank: 1, now: 0)
    // Rank 1 is in its second step from 1 s on, rank 0 from 90 s on; both end it at 91 s.
    var saving = report(step: 2, collectives: 1, moves: 2)
    saving.phase = .checkpoint
    for second in 1...90 {
      judge.report(saving, rank: 0, now: Double(second))
      judge.report(
        report(step: 2, collectives: 2, moves: 3, operation: "exchange"), rank: 1,
        now: Double(second))
    }
    judge.report(report(step: 3, collectives: 2, moves: 3), rank: 0, now: 90)
    for rank in 0..<2 {
      judge.report(report(step: 4, collectives: 3, moves: 9), rank: rank, now: 91)
    }
    for second in 92...101 {
      for rank in 0..<2 {
        judge.report(report(step: 4, collectives: 3, moves: 9), rank: rank, now: Double(second))
      }
    }
    #expect(judge.verdict(now: 101) == nil)
    #expect(judge.verdict(now: 102)?.text.contains("(limit 10 s)") == true)
  }

  @Test func anEndIsAFaultUnlessItWasAnnounced() {
    var judge = judge(2)
    judge.done(rank: 0)
    judge.closed(rank: 0, now: 1)
    #expect(judge.verdict(now: 1) == nil)
    judge.closed(rank: 1, now: 2)
    #expect(judge.verdict(now: 2)?.kind == .ended)
    #expect(judge.verdict(now: 2)?.rank == 1)
  }

  @Test func aRankThatNeverComesIsMissed() {
    var judge = JobJudge(rankCount: 2, limits: .init(), now: 0)
    #expect(judge.verdict(now: 100) == nil)
    judge.hello(rank: 0, host: "a", process: 1, now: 100)
    #expect(judge.verdict(now: 100)?.kind == .missing)
    #expect(judge.verdict(now: 100)?.rank == 1)
  }

  // MARK: Restarts

  private func failure(_ code: Int32, saved: Int = 0, error: String? = nil, step: Int = 3)
    -> JobFailure
  {
    JobFailure(
      exitCode: code, error: error.map { JobFailure.ThrownError(step: step, text: $0) },
      savedStep: saved, hasStarted: true)
  }

  @Test func theBudgetIsRenewedByProgress() {
    var policy = RestartPolicy(maximum: 2)
    #expect(policy.decide(failure(137)) == .restart(number: 1, delay: 1))
    #expect(policy.decide(failure(137)) == .restart(number: 2, delay: 2))
    #expect(policy.decide(failure(137, saved: 5)) == .restart(number: 1, delay: 1))
    #expect(policy.decide(failure(71, saved: 5)) == .restart(number: 2, delay: 2))
    #expect(
      policy.decide(failure(71, saved: 5))
        == .giveUp("not restarted: 2 restarts without a new checkpoint"))
  }

  @Test func theDelayIsBounded() {
    var policy = RestartPolicy(maximum: 100)
    let delays = (0..<8).compactMap { _ -> Double? in
      guard case .restart(_, let delay) = policy.decide(failure(137)) else { return nil }
      return delay
    }
    #expect(delays == [1, 2, 4, 8, 16, 32, 60, 60])
  }

  @Test(arguments: [0, 2, 3, 75] as [Int32])
  func someEndsAreFinal(_ code: Int32) {
    var policy = RestartPolicy(maximum: 5)
    guard case .giveUp = policy.decide(failure(code)) else {
      Issue.record("restarted after \(code)")
      return
    }
  }

  @Test func onlyTheSameErrorAtTheSameStepIsFinal() {
    var policy = RestartPolicy(maximum: 9)
    #expect(policy.decide(failure(1, error: "x", step: 3)) == .restart(number: 1, delay: 1))
    #expect(policy.decide(failure(1, error: "x", step: 4)) == .restart(number: 2, delay: 2))
    #expect(policy.decide(failure(1, error: "y", step: 4)) == .restart(number: 3, delay: 4))
    #expect(policy.decide(failure(137)) == .restart(number: 4, delay: 8))
    #expect(policy.decide(failure(1, error: "y", step: 4)) == .restart(number: 5, delay: 16))
    guard case .giveUp = policy.decide(failure(1, error: "y", step: 4)) else {
      Issue.record("restarted after the same error at the same step")
      return
    }
  }

  @Test func aJobThatNeverStartedIsNotRestarted() {
    var policy = RestartPolicy(maximum: 5)
    let failure = JobFailure(exitCode: 1, error: nil, savedStep: 0, hasStarted: false)
    #expect(policy.decide(failure) == .giveUp("not restarted: no rank has started"))
  }

  // MARK: Messages

  @Test func messagesAreReadBack() {
    var report = RankReport()
    (report.phase, report.step, report.operation) = (.checkpoint, 12, "all gather")
    (report.entries, report.collectives, report.moves, report.movesAtEntry) = (7, 40, 99, 55)
    let messages: [ControlMessage] = [
      .hello(token: "abc", rank: 3, process: 77, host: "node-a", job: 1 << 31), .report(report),
      .report(RankReport()), .output("runs/a b%\n\u{e9}"), .saved(step: 5),
      .failed(code: 1, step: 2, text: "line\n  fix: other line"), .done(code: 75),
      .welcome(leaseSeconds: 60),
      .alive, .stop, .end,
    ]
    var reader = ControlReader()
    #expect(reader.feed(messages.flatMap(\.bytes)) == messages)
    // Byte by byte as well.
    var read: [ControlMessage] = []
    for byte in messages.flatMap(\.bytes) { read += reader.feed([byte]) ?? [.end, .end] }
    #expect(read == messages)
  }

  @Test(arguments: [
    "", "hello", "hello 1 abc 0 1 a 1", "hello 2 abc -1 1 a 1", "hello 2 abc 9999999999 1 a 1",
    "hello 2 abc 0 0 a 1", "hello 2 abc 0 1 a -1", "hello 2 abc 0 1 a", "at nowhere 1 1 1 1 1 ",
    "at step -1 1 1 1 1 ", "at step 1 1 1 1 2 ", "at step 1 1", "welcome", "welcome 0", "output ",
    "output %zz", "output %4", "saved x", "failed 256 1 x", "done -1", "alive 1", "\u{1}", "é",
  ])
  func whatIsNoMessageIsRefused(_ line: String) {
    #expect(ControlMessage(line: Array(line.utf8)) == nil)
    var reader = ControlReader()
    #expect(reader.feed(Array((line + "\n").utf8)) == nil)
  }

  @Test func longLinesAreRefused() {
    var reader = ControlReader()
    #expect(reader.feed([UInt8](repeating: UInt8(ascii: "a"), count: 5000)) == nil)
    let long = ControlMessage.failed(
      code: 1, step: 1, text: String(repeating: "\n", count: 100_000))
    #expect(long.bytes.count < 4096)
  }

  @Test func addressesAreReadFromTheEnvironment() {
    let address = ControlAddress(hosts: ["10.0.0.1", "127.0.0.1"], port: 4000, token: "t")
    #expect(address.text == "10.0.0.1,127.0.0.1:4000")
    let variables = [
      "ACCELERATE_CONTROL_ADDRESS": address.text, "ACCELERATE_CONTROL_TOKEN": "t",
    ]
    #expect(ControlAddress(variables) == address)
    #expect(ControlAddress([:]) == nil)
    #expect(
      ControlAddress(["ACCELERATE_CONTROL_ADDRESS": "x", "ACCELERATE_CONTROL_TOKEN": "t"]) == nil)
    #expect(ControlAddress.makeToken() != ControlAddress.makeToken())
  }

  @Test func timeoutsAreGivenByPhase() throws {
    let options = try LaunchOptions([
      "--timeout-seconds", "90,loading=600", "--max-restarts=3", "--grace-seconds", "5", "train",
    ])
    #expect(options.limits.seconds == 90)
    #expect(options.limits.phases == [.loading: 600])
    #expect(options.maxRestarts == 3)
    #expect(options.graceSeconds == 5)
    for text in ["0", "x", "nowhere=3", "step=", "step=1,,"] {
      #expect(throws: UserError.self) { try LaunchOptions(["--timeout-seconds", text, "train"]) }
    }
  }
}
