internal import Glibc
internal import Support
internal import Synchronization

/// Judges the ranks where no `launch` does: when `srun` or `mpirun` alone has started them. It is a
/// thread of rank 0.
final class RankZeroJudge: Sendable {
  /// `--timeout-seconds` where there is no `launch`.
  static let timeoutVariable = "ACCELERATE_TIMEOUT_SECONDS"

  /// The others notice when rank 0 is stopped or cut off, and the job is gone within ten seconds.
  private static let leaseSeconds = 8
  /// How long mpirun or srun has to end the others when a rank has failed.
  private static let noticeSeconds = 1.5
  /// How long the others have to end after they were told.
  private static let endSeconds = 1.0
  /// How long a job that is done waits for the last words of its ranks.
  private static let farewellSeconds = 10.0
  private static let tickMilliseconds: Int32 = 50

  private let monitor: Mutex<JobMonitor>
  private let isUnderMPIRun: Bool

  private init(_ monitor: consuming sending JobMonitor, isUnderMPIRun: Bool) {
    self.monitor = Mutex(monitor)
    self.isUnderMPIRun = isUnderMPIRun
  }

  /// Begins to judge on rank 0 and to report on every rank. All ranks call it.
  ///
  /// - Parameters:
  ///   - group: all ranks.
  ///   - environment: of the process.
  ///   - isUnderMPIRun: whether mpirun ends all ranks when one ends badly.
  /// - Returns: nil on ranks other than 0.
  /// - Throws: ``UserError``.
  static func start(
    _ group: SupervisedGroup, environment: [String: String], isUnderMPIRun: Bool
  ) throws(UserError) -> RankZeroJudge? {
    var judge: RankZeroJudge?
    var text = ""
    if group.rank == 0 {
      var limits = JobJudge.Limits()
      if let timeouts = environment[timeoutVariable], !timeouts.isEmpty {
        try limits.set(timeouts, at: "environment variable \(timeoutVariable)")
      }
      let monitor = JobMonitor(
        server: try ControlServer(
          rankCount: group.worldSize, isRemote: group.localWorldSize < group.worldSize,
          chosen: nil, leaseSeconds: leaseSeconds),
        rankCount: group.worldSize, limits: limits, now: SteadyClock.seconds())
      let address = monitor.address
      text = "\(address.text) \(address.token)"
      let new = RankZeroJudge(monitor, isUnderMPIRun: isUnderMPIRun)
      try BackgroundThread.start { new.run() }
      judge = new
    }
    let words = try group.broadcast(text).split(separator: " ").map { String($0) }
    guard words.count == 2,
      let address = ControlAddress([
        ControlAddress.addressVariable: words[0], ControlAddress.tokenVariable: words[1],
      ])
    else {
      throw UserError(.distributed, "rank 0 has sent no address of its supervisor")
    }
    try RankLink.start(
      address: address, supervisor: .rankZero, rank: group.rank, progress: group.progress)
    return judge
  }

  /// Waits until the other ranks have said that they end: they end themselves when rank 0 goes
  /// before.
  func waitForOthers() {
    let deadline = SteadyClock.seconds() + Self.farewellSeconds
    while SteadyClock.seconds() < deadline && !monitor.withLock({ $0.judge.haveAllEnded }) {
      usleep(10_000)
    }
  }

  private func run() {
    var failureDeadline: Double?
    var lastTime = SteadyClock.seconds()
    /// When this process went on after it was stopped, and for how long it was.
    var stop = (end: -Double.infinity, seconds: 0.0)
    while true {
      waitForWords()
      let now = SteadyClock.seconds()
      if now - lastTime > 2 { stop = (now, now - lastTime) }
      lastTime = now
      let (verdict, failure) = monitor.withLock { monitor in
        monitor.listen(now: now)
        return (monitor.verdict(now: now), monitor.failureCode)
      }
      if let verdict {
        let isOwnFault = verdict.kind == .ended && now - stop.end < 2
        let text =
          isOwnFault
          ? "rank 0 was stopped for \(Int(stop.seconds)) s; the others heard nothing and have ended"
          : verdict.text
        let line = "error: \(text); stopping all ranks\n"
        RankOutput.writeAll(Array(line.utf8), to: 2)
        end(ExitCode.supervised)
      }
      if let failure {
        // The rank has told its error itself.
        failureDeadline = failureDeadline ?? now + Self.noticeSeconds
        if let failureDeadline, now > failureDeadline { end(failure) }
      }
    }
  }

  /// Returns as soon as a rank says something or ends: mpirun, which sees that too, may end this
  /// process next.
  private func waitForWords() {
    var polled = monitor.withLock { $0.descriptors }.map {
      pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
    }
    _ = unsafe poll(&polled, nfds_t(polled.count), Self.tickMilliseconds)
  }

  /// Ends all ranks, this one last.
  private func end(_ code: Int32) -> Never {
    monitor.withLock { $0.tell(.end) }
    let deadline = SteadyClock.seconds() + Self.endSeconds
    while SteadyClock.seconds() < deadline, monitor.withLock({ $0.ranks != [0] }) {
      waitForWords()
      monitor.withLock { $0.listen(now: SteadyClock.seconds()) }
    }
    RankJob.end(code, isUnderMPIRun: isUnderMPIRun)
  }
}
