internal import Glibc
internal import Support

/// Signals to a process that has no launcher: the first asks it to save and end, the second ends
/// it at once.
enum StopSignals {
  /// Takes SIGTERM, SIGINT and SIGUSR1 from now on. Call it before other threads are started.
  ///
  /// - Parameter progress: is asked to stop.
  /// - Throws: ``UserError`` when the system has no thread left.
  static func install(_ progress: ProgressReporter) throws(UserError) {
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    for number in [SIGTERM, SIGINT, SIGUSR1] { unsafe sigaddset(&signals, number) }
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    let waited = signals
    try BackgroundThread.start {
      var signals = waited
      while true {
        var number: Int32 = 0
        guard unsafe sigwait(&signals, &number) == 0 else { continue }
        if progress.isStopRequested { _exit(128 + number) }
        progress.requestStop()
        Console.writeError(
          "\nsignal \(number): saving at the end of this step, then ending; "
            + "another signal ends at once\n")
      }
    }
  }
}
