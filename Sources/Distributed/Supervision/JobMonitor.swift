internal import Support

/// Hears the ranks of a job and finds out what is wrong with it. Its owner, `launch` or rank 0, acts
/// on that.
package struct JobMonitor: ~Copyable {
  private var server: ControlServer
  package private(set) var judge: JobJudge
  /// The first error that a rank has told, and all ranks that told one.
  package private(set) var error: JobFailure.ThrownError?
  package private(set) var failedRanks: Set<Int> = []
  /// The exit code of the first rank that has said it ends without success.
  package private(set) var failureCode: Int32?
  /// What the job would end with, from what the ranks have said.
  private var lastCode = ExitCode.success
  /// The run's directory, where rank 0 has told it.
  package private(set) var output: String?
  /// The newest checkpoint that rank 0 has told of; 0 for none.
  package private(set) var savedStep = 0
  /// Open MPI's number of the job; 0 while it is not known.
  package private(set) var mpiJob: UInt32 = 0
  /// What ranks that come late are told as well.
  private var order: ControlMessage?
  private let hostName = KernelFile.firstLine("/proc/sys/kernel/hostname") ?? ""
  private var lastTime: Double

  /// How long a rank of this machine that is alive and not stopped may be silent: it only gets no
  /// time on a crowded machine.
  private static let starvedSeconds = 60.0

  /// - Parameters:
  ///   - server: to which the ranks connect.
  ///   - rankCount: of the job.
  ///   - limits: how long ranks may be silent or stand still.
  ///   - now: seconds of the steady clock.
  package init(
    server: consuming ControlServer, rankCount: Int, limits: JobJudge.Limits, now: Double
  ) {
    self.server = server
    judge = JobJudge(rankCount: rankCount, limits: limits, now: now)
    lastTime = now
  }

  package var address: ControlAddress { server.address }

  /// Ranks that are connected.
  package var ranks: Set<Int> { server.ranks }

  /// Where something may arrive.
  var descriptors: [Int32] { server.descriptors }

  /// Tells all ranks, also those that connect later, to save and end or to end at once.
  package mutating func tell(_ order: ControlMessage) {
    self.order = order
    server.broadcast(order)
  }

  /// Takes what the ranks have said, without waiting. It has to be called all the time.
  package mutating func listen(now: Double) {
    for event in server.serve(now: now) { take(event, now: now) }
    // This process was stopped itself, or starved: it could not hear anybody.
    if now - lastTime > 1 { judge.paused(now - lastTime) }
    lastTime = now
  }

  private mutating func take(_ event: ControlServer.Event, now: Double) {
    switch event {
    case .hello(let rank, let host, let process, let job):
      judge.hello(rank: rank, host: host, process: process, now: now)
      if mpiJob == 0 { mpiJob = job }
      if let order { server.send(order, toRank: rank) }
    case .closed(let rank): judge.closed(rank: rank, now: now)
    case .message(let rank, let message):
      switch message {
      case .report(let report): judge.report(report, rank: rank, now: now)
      case .output(let path) where rank == 0: output = path
      case .saved(let step) where rank == 0: savedStep = max(savedStep, step)
      case .failed(let code, let step, let text):
        if error == nil { error = JobFailure.ThrownError(step: step, text: text) }
        failedRanks.insert(rank)
        ends(rank, code)
      case .done(let code): ends(rank, code)
      default: break
      }
    }
  }

  private mutating func ends(_ rank: Int, _ code: Int32) {
    judge.done(rank: rank)
    lastCode = code
    if code != ExitCode.success && code != ExitCode.savedPleaseRequeue && failureCode == nil {
      failureCode = code
    }
  }

  /// The exit code of a job whose ranks have all said that they are done; nil before.
  package var endCode: Int32? {
    judge.haveAllEnded ? failureCode ?? lastCode : nil
  }

  /// What is wrong now, if anything.
  package func verdict(now: Double) -> JobJudge.Verdict? {
    guard let found = judge.verdict(now: now) else { return nil }
    if found.kind == .silent, now - found.since < Self.starvedSeconds,
      let (host, process) = judge.process(ofRank: found.rank), host == hostName,
      let state = ProcessTree.state(process), !["T", "t", "Z", "X"].contains(state)
    {
      return nil
    }
    return found
  }
}
