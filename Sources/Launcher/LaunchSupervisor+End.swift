import DistributedTraining
import Support

extension LaunchSupervisor {
  /// Tells how the job has ended.
  ///
  /// - Parameters:
  ///   - status: what the process ended with.
  ///   - printer: knows what mpirun has said.
  /// - Returns: the exit code, and what went wrong in a few words.
  func finish(_ status: Int32, _ printer: RankPrinter) -> (code: Int32, reason: String) {
    var printer = printer
    let errors = printer.errors
    if let verdict {
      return (ExitCode.supervised, verdict.text)
    }
    if let stopSignal, monitor.error == nil, status != ExitCode.success,
      status != ExitCode.savedPleaseRequeue
    {
      printer.tell("stopped by signal \(stopSignal); all ranks have ended")
      return (128 + stopSignal, "signal \(stopSignal)")
    }
    guard status != ExitCode.success, status != ExitCode.savedPleaseRequeue else {
      return (status, "")
    }
    func ended(_ end: JobEnd, code: Int32) -> (Int32, String) {
      let text = end.text(rankCount: job.rankCount, place: place(ofRank: end.rank))
      printer.tell("error: " + text)
      return (code, text)
    }
    if job.rankCount == 1 {
      // Its own words were printed.
      let text = JobEnd(rank: 0, status: status).text(
        rankCount: 1, place: place(ofRank: 0))
      if monitor.error == nil && status > 128 { printer.tell("error: " + text) }
      return (status, monitor.error.map(\.text) ?? text)
    }
    if let mpirunSignal {
      printer.tell("error: mpirun was ended by signal \(mpirunSignal); all ranks were stopped")
      return (status, "mpirun was ended by signal \(mpirunSignal)")
    }
    if var end = errors.messages.lazy.compactMap({ JobEnd(message: $0) }).first {
      // When several ranks fail alike, name the one whose words were printed.
      if let named = end.rank, end.signal == nil, errors.ranksOfFirstError.contains(named) {
        end.rank = errors.firstFailedRank
      }
      if end.host == nil, let rank = end.rank { end.host = job.hosts.host(ofRank: rank) }
      return ended(end, code: end.launchExitCode)
    }
    if let rank = errors.firstFailedRank {
      return ended(JobEnd(rank: rank, status: status), code: status)
    }
    let hosts = job.hosts
    let failures = errors.messages.lazy.compactMap {
      LaunchFailure.error(message: $0, hosts: hosts)
    }
    if let failure = failures.first {
      printer.tell("error: \(failure)")
      return (failure.exitCode, failure.message)
    }
    // mpirun did not get as far as running ranks, or lost a host: its own words are the best.
    let text = errors.messages.filter { !$0.contains("Primary job") }
    guard !job.isVerbose && !text.isEmpty else {
      return ended(JobEnd(rank: nil, status: status), code: status)
    }
    printer.tell("error: mpirun could not run the ranks (code \(status)). It says:")
    let lines = text.joined(separator: "\n").split(whereSeparator: \.isNewline)
    printer.tell(lines.map { "  \($0)" }.joined(separator: "\n"))
    return (status, "mpirun could not run the ranks")
  }
}
