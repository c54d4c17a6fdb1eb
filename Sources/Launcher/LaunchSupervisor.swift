import DistributedTraining
import Glibc
import Support

/// Runs the ranks once, to their end: passes on what they write, watches over them, hands on
/// signals, leaves no process.
struct LaunchSupervisor: ~Copyable {
  /// What is started, and how it is watched.
  struct Job {
    /// What is started, its file first: mpirun, or the only rank itself.
    var arguments: [String]
    /// The file of the ranks.
    var rankProgram: String
    var rankCount: Int
    var hosts: Hostfile
    var isVerbose: Bool
    var limits: JobJudge.Limits
    var graceSeconds: Double
    /// Whether the ranks save when they are asked to stop.
    var savesOnStop: Bool
    /// Looks after the other hosts, where there are any.
    var sweep: HostSweep?
  }

  /// How an attempt has ended.
  struct Outcome {
    var exitCode: Int32
    /// What went wrong, in a few words.
    var reason: String
    var error: JobFailure.ThrownError?
    /// The run's directory, where a rank has told it.
    var output: String?
    /// The newest checkpoint that a rank has told of; 0 for none.
    var savedStep: Int
    var hasStarted: Bool
    /// The signal that asked to end.
    var stopSignal: Int32?
  }

  /// How long mpirun has to see that its ranks are gone, before it is told. It breaks down when it
  /// is told in the middle of that.
  private static let noticeSeconds = 1.5
  /// How long processes have to end after they were asked, before they are killed.
  private static let killSeconds = 3.0
  /// How long mpirun may take to tell why a rank has ended.
  private static let explanationSeconds = 4.0
  /// How long mpirun may stay after its ranks: a daemon of its own on another host may be stopped.
  private static let leaveSeconds = 10.0
  /// How often things are looked at, and how long a part of a line is held back.
  private static let tickMilliseconds: Int32 = 50

  let job: Job
  private(set) var monitor: JobMonitor
  private var printer: RankPrinter
  private(set) var stopSignal: Int32?
  private var stopDeadline: Double?
  private var terminateTime: Double?
  private var killTime: Double?
  private var isEnding = false
  /// When all ranks had ended, and what the job ends with then, should mpirun not end by itself.
  private var ranksEnded: (time: Double, code: Int32)?
  private var overrulingCode: Int32?
  /// The signal that ended mpirun itself.
  private(set) var mpirunSignal: Int32?
  private(set) var verdict: JobJudge.Verdict?

  init(_ job: Job, server: consuming ControlServer) {
    self.job = job
    monitor = JobMonitor(
      server: server, rankCount: job.rankCount, limits: job.limits, now: SteadyClock.seconds())
    printer = RankPrinter(isVerbose: job.isVerbose)
  }

  /// Signals that end a job; `launch` takes them when it looks, so that none is lost in between.
  static func blockSignals() -> sigset_t {
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGHUP, SIGUSR1] { unsafe sigaddset(&signals, number) }
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    return signals
  }

  /// The next signal that has come, within a time.
  static func nextSignal(_ signals: sigset_t, seconds: Double = 0) -> Int32? {
    var signals = signals
    var time = timespec(
      tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
    let number = unsafe sigtimedwait(&signals, nil, &time)
    return number > 0 ? number : nil
  }

  /// - Parameter environment: the whole environment of what is started.
  /// - Returns: how it ended.
  mutating func run(environment: [String: String]) throws(UserError) -> Outcome {
    let signals = Self.blockSignals()
    var environment = environment
    environment[ControlAddress.addressVariable] = monitor.address.text
    environment[ControlAddress.tokenVariable] = monitor.address.token

    let pipe = try RankOutput.pipe()
    defer { close(pipe.reading) }
    let nothing = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { close(nothing) }
    // Through this program, so that it ends even when this process is killed.
    var child = ChildProcess(
      program: job.rankProgram,
      arguments: [job.rankProgram, HiddenCommands.endsWithParent, "\(getpid())"] + job.arguments,
      environment: environment)
    child.leadsGroup = true
    // A process in the background must not read from the terminal.
    child.descriptors = [(pipe.writing, 2)]
    if isatty(0) == 1 { child.descriptors.append((nothing, 0)) }
    let process: Int32
    do throws(UserError) {
      process = try child.start()
    } catch {
      close(pipe.writing)
      throw error
    }
    close(pipe.writing)
    let status = watch(process, pipe.reading, signals)
    let (exitCode, reason) = finish(status, printer)
    return Outcome(
      exitCode: exitCode, reason: reason, error: monitor.error, output: monitor.output,
      savedStep: monitor.savedStep, hasStarted: monitor.judge.hasHeardAny, stopSignal: stopSignal)
  }

  // MARK: Watching

  /// Returns the process's exit code, 128 + n when signal n ended it.
  private mutating func watch(_ process: Int32, _ input: Int32, _ signals: sigset_t) -> Int32 {
    var isInputOpen = true
    var exitCode: Int32?
    var endTime = 0.0
    while exitCode == nil || (isInputOpen && SteadyClock.seconds() - endTime < 1) {
      if isInputOpen {
        isInputOpen = printer.passOn(from: input, milliseconds: Self.tickMilliseconds)
      } else {
        usleep(UInt32(Self.tickMilliseconds) * 1000)
      }
      let now = SteadyClock.seconds()
      monitor.listen(now: now)
      while let number = Self.nextSignal(signals) { takeSignal(number, process, now: now) }
      guard exitCode == nil else { continue }
      var status: Int32 = 0
      if unsafe waitpid(process, &status, WNOHANG) == process {
        exitCode = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
        if status & 0x7F != 0 && !isEnding { mpirunSignal = status & 0x7F }
        endTime = now
        // What may have outlived it.
        monitor.tell(.end)
      } else {
        decide(process, now: now)
      }
    }
    remains.end()
    printer.flush()
    let code = overrulingCode ?? exitCode ?? ExitCode.failure
    if code != ExitCode.success || isEnding { sweepHosts() }
    return code
  }

  private mutating func decide(_ process: Int32, now: Double) {
    if let time = terminateTime, now > time {
      // What it says about the end of its ranks would hide the reason.
      printer.isMuted = true
      kill(process, SIGTERM)
      terminateTime = nil
    }
    if let time = killTime, now > time {
      killAll(process)
    } else if let deadline = stopDeadline, now > deadline, !isEnding {
      printer.tell("the ranks have not saved within \(Int(job.graceSeconds)) s; ending them")
      end(process, now: now)
    }
    if !isEnding, let code = monitor.endCode {
      let ended = ranksEnded ?? (now, code)
      ranksEnded = ended
      if now - ended.time > Self.leaveSeconds {
        overrulingCode = code
        printer.tell("warning: all ranks are done, but mpirun does not end; ending it")
        end(process, now: now)
      }
    }
    guard verdict == nil, !isEnding, let found = monitor.verdict(now: now) else { return }
    // mpirun knows how the rank has ended and stops the others.
    if found.kind == .ended && now - found.since < Self.explanationSeconds { return }
    verdict = found
    printer.tell("error: \(found.text)" + (job.rankCount > 1 ? "; stopping all ranks" : ""))
    end(process, now: now)
  }

  /// What the rank was doing, unless it has told an error of its own.
  func place(ofRank rank: Int?) -> (process: Int32, text: String)? {
    guard let rank, !monitor.failedRanks.contains(rank), monitor.error == nil else { return nil }
    return monitor.judge.place(ofRank: rank)
  }

  // MARK: Stopping

  /// The first request to end lets the ranks save; a second one ends them.
  private mutating func takeSignal(_ number: Int32, _ process: Int32, now: Double) {
    if stopSignal == nil && job.savesOnStop && !isEnding {
      stopSignal = number
      stopDeadline = now + job.graceSeconds
      monitor.tell(.stop)
      printer.tell(
        "signal \(number): the ranks save at the end of this step, then end; "
          + "another signal ends at once")
      return
    }
    stopSignal = stopSignal ?? number
    if isEnding { killTime = now } else { end(process, now: now) }
  }

  /// Asks everything to end, and kills it a little later.
  private mutating func end(_ process: Int32, now: Double) {
    isEnding = true
    // Ranks that are connected end by themselves; what has none yet is told at once.
    terminateTime = now + (monitor.ranks.isEmpty ? 0 : Self.noticeSeconds)
    killTime = now + Self.killSeconds
    monitor.tell(.end)
  }

  private mutating func killAll(_ process: Int32) {
    kill(-process, SIGKILL)
    // The ranks lead process groups of their own.
    remains.end()
    killTime = nil
  }

  /// What may be left of this job on a machine.
  private var remains: JobRemains {
    JobRemains(
      token: monitor.address.token, job: monitor.mpiJob, program: job.rankProgram)
  }

  /// Ends what mpirun could not end on other hosts.
  private mutating func sweepHosts() {
    guard let sweep = job.sweep else { return }
    for line in sweep.run(remains) { printer.tell(line) }
  }
}
