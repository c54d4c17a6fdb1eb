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
  /// How often things are looked at, and how long a part of a line is held back.
  private static let tickMilliseconds: Int32 = 50

  let job: Job
  private var server: ControlServer
  private var judge: JobJudge
  private var printer: RankPrinter
  private(set) var stopSignal: Int32?
  private var stopDeadline: Double?
  private var terminateTime: Double?
  private var killTime: Double?
  private var isEnding = false
  private(set) var verdict: JobJudge.Verdict?
  private(set) var error: JobFailure.ThrownError?
  private(set) var failedRanks: Set<Int> = []
  private var output: String?
  private var savedStep = 0
  /// Processes below mpirun when it was asked to end, in case they outlive it.
  private var descendants: [Int32] = []
  /// Open MPI's number of the job, from the first rank on this machine.
  private var mpiJob: UInt32?
  private var lastTick = SteadyClock.seconds()

  init(_ job: Job, server: consuming ControlServer) {
    self.job = job
    self.server = server
    judge = JobJudge(rankCount: job.rankCount, limits: job.limits, now: SteadyClock.seconds())
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
    environment[ControlAddress.addressVariable] = server.address.text
    environment[ControlAddress.tokenVariable] = server.address.token

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
      exitCode: exitCode, reason: reason, error: error, output: output, savedStep: savedStep,
      hasStarted: judge.hasHeardAny, stopSignal: stopSignal)
  }

  // MARK: Watching

  /// Returns the process's exit code, 128 + n when signal n ended it.
  private mutating func watch(_ process: Int32, _ input: Int32, _ signals: sigset_t) -> Int32 {
    var isInputOpen = true
    var exitCode: Int32?
    var endTime = 0.0
    lastTick = SteadyClock.seconds()
    while exitCode == nil || (isInputOpen && SteadyClock.seconds() - endTime < 1) {
      if isInputOpen {
        isInputOpen = printer.passOn(from: input, milliseconds: Self.tickMilliseconds)
      } else {
        usleep(UInt32(Self.tickMilliseconds) * 1000)
      }
      let now = SteadyClock.seconds()
      for event in server.serve(now: now) { take(event, now: now) }
      // This process was stopped itself, or starved: it could not hear anybody.
      if now - lastTick > 1 { judge.paused(now - lastTick) }
      lastTick = now
      while let number = Self.nextSignal(signals) { takeSignal(number, process, now: now) }
      guard exitCode == nil else { continue }
      var status: Int32 = 0
      if unsafe waitpid(process, &status, WNOHANG) == process {
        exitCode = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
        endTime = now
        // What may have outlived it.
        server.broadcast(.end)
      } else {
        decide(process, now: now)
      }
    }
    killRemaining()
    if let mpiJob { SharedSegments.remove(job: mpiJob) }
    printer.flush()
    return exitCode ?? ExitCode.failure
  }

  private mutating func take(_ event: ControlServer.Event, now: Double) {
    switch event {
    case .hello(let rank, let host, let process):
      judge.hello(rank: rank, host: host, process: process, now: now)
      if mpiJob == nil && isOwnRank(process) {
        mpiJob = SharedSegments.job(ofEnvironment: KernelFile.environment(of: process))
      }
      if isEnding {
        server.send(.end, toRank: rank)
      } else if stopSignal != nil {
        server.send(.stop, toRank: rank)
      }
    case .closed(let rank): judge.closed(rank: rank, now: now)
    case .message(let rank, let message):
      switch message {
      case .report(let report): judge.report(report, rank: rank, now: now)
      case .output(let path) where rank == 0: output = path
      case .saved(let step) where rank == 0: savedStep = max(savedStep, step)
      case .failed(_, let step, let text):
        if error == nil { error = JobFailure.ThrownError(step: step, text: text) }
        failedRanks.insert(rank)
        judge.done(rank: rank)
      case .done: judge.done(rank: rank)
      default: break
      }
    }
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
    guard verdict == nil, !isEnding, let found = judge.verdict(now: now) else { return }
    if found.kind == .silent, now - found.since < Self.starvedSeconds,
      judge.process(ofRank: found.rank).map({ isStarved($0.process, on: $0.host) }) ?? false
    {
      return
    }
    // mpirun knows how the rank has ended and stops the others.
    if found.kind == .ended && now - found.since < Self.explanationSeconds { return }
    verdict = found
    printer.tell("error: \(found.text)" + (job.rankCount > 1 ? "; stopping all ranks" : ""))
    end(process, now: now)
  }

  /// How long a rank of this machine that is alive and not stopped may be silent: it only gets no
  /// time on a crowded machine.
  private static let starvedSeconds = 60.0

  private func isStarved(_ process: Int32, on host: String) -> Bool {
    guard LaunchCommand.isThisMachine(host),
      let line = KernelFile.firstLine("/proc/\(process)/stat"),
      // The state follows the program's name in parentheses.
      let end = line.lastIndex(of: ")"),
      let state = line[end...].split(separator: " ").dropFirst().first
    else { return false }
    return !["T", "t", "Z", "X"].contains(state)
  }

  /// What the rank was doing, unless it has told an error of its own.
  func place(ofRank rank: Int?) -> (process: Int32, text: String)? {
    guard let rank, !failedRanks.contains(rank), error == nil else { return nil }
    return judge.place(ofRank: rank)
  }

  // MARK: Stopping

  /// The first request to end lets the ranks save; a second one ends them.
  private mutating func takeSignal(_ number: Int32, _ process: Int32, now: Double) {
    if stopSignal == nil && job.savesOnStop && !isEnding {
      stopSignal = number
      stopDeadline = now + job.graceSeconds
      server.broadcast(.stop)
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
    terminateTime = now + (server.ranks.isEmpty ? 0 : Self.noticeSeconds)
    killTime = now + Self.killSeconds
    descendants = ProcessTree.descendants(of: process)
    server.broadcast(.end)
  }

  private mutating func killAll(_ process: Int32) {
    descendants += ProcessTree.descendants(of: process)
    kill(-process, SIGKILL)
    killRemaining()
    killTime = nil
  }

  /// Ends ranks of this job that are still on this machine: they lead process groups of their own.
  private func killRemaining() {
    for process in Set(descendants + judge.processes.map(\.process)) where isOwnRank(process) {
      kill(process, SIGKILL)
    }
  }

  /// Whether a process of this machine is a rank of this job; a rank of another host may have the
  /// number of any process here.
  private func isOwnRank(_ process: Int32) -> Bool {
    ProcessTree.isProgram(process, job.rankProgram)
      && ProcessTree.hasVariable(process, ControlAddress.tokenVariable, server.address.token)
  }
}
