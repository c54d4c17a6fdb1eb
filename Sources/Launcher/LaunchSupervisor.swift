import DistributedTraining
import Glibc
import Support

/// Runs `mpirun` to its end: passes on what ranks write, hands on signals, leaves no process.
struct LaunchSupervisor {
  /// How long mpirun has to end after it was asked, before everything is killed.
  private static let graceSeconds = 5.0
  /// How often signals are looked at, and how long a part of a line is held back.
  private static let tickMilliseconds: Int32 = 50

  private let command: MPIRunCommand
  private let isVerbose: Bool
  private var errors = MPIRunErrors()
  private var endsWithNewline = true
  /// How many ticks have passed since mpirun last wrote.
  private var idleTicks = 0
  /// The signal that asked this program to end.
  private var stopSignal: Int32?
  private var killTime: Double?
  /// Processes below mpirun when it was asked to end, in case they outlive it.
  private var descendants: [Int32] = []

  init(command: MPIRunCommand, isVerbose: Bool) {
    self.command = command
    self.isVerbose = isVerbose
  }

  /// - Parameter environment: mpirun's whole environment.
  /// - Returns: the exit code of the rank that failed first, or 0.
  mutating func run(environment: [String: String]) throws(UserError) -> Int32 {
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGHUP] { unsafe sigaddset(&signals, number) }
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)

    let pipe = try RankOutput.pipe()
    defer { close(pipe.reading) }
    let nothing = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { close(nothing) }
    // Through this program, so that mpirun ends even when this process is killed.
    var child = ChildProcess(
      program: command.program,
      arguments: [command.program, HiddenCommands.endsWithParent, "\(getpid())"]
        + command.arguments,
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
    return finish(status)
  }

  /// Returns mpirun's exit code, 128 + n when signal n ended it.
  private mutating func watch(
    _ process: Int32, _ input: Int32, _ signals: sigset_t
  ) -> Int32 {
    var isInputOpen = true
    var exitCode: Int32?
    var ticksAfterEnd = 0
    while exitCode == nil || (isInputOpen && ticksAfterEnd < 20) {
      if isInputOpen {
        isInputOpen = passOn(from: input)
      } else {
        usleep(UInt32(Self.tickMilliseconds) * 1000)
      }
      takeSignals(signals, process)
      if exitCode == nil {
        var status: Int32 = 0
        if unsafe waitpid(process, &status, WNOHANG) == process {
          exitCode = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
        } else if let time = killTime, Self.now() > time {
          killAll(process)
        }
      } else {
        ticksAfterEnd += 1
      }
    }
    killRemaining()
    pass(errors.flush())
    return exitCode ?? ExitCode.failure
  }

  /// Waits up to one tick for bytes; returns whether more can come.
  private mutating func passOn(from input: Int32) -> Bool {
    var polled = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
    let ready = unsafe poll(&polled, 1, Self.tickMilliseconds)
    if ready == 0 {
      // Something that looked like mpirun's was not, or mpirun stopped in the middle of a message.
      idleTicks += 1
      if errors.isHolding && (!errors.isInMessage || idleTicks > 20) { pass(errors.flush()) }
    }
    guard ready > 0 else { return true }
    idleTicks = 0
    var buffer = [UInt8](repeating: 0, count: 16384)
    let count = unsafe read(input, &buffer, buffer.count)
    if count < 0 { return errno == EINTR }
    if isVerbose { write(Array(buffer[..<count])) }
    pass(errors.feed(buffer[..<count]))
    return count > 0
  }

  /// Writes what ranks said; when verbose, everything was written already.
  private mutating func pass(_ bytes: [UInt8]) {
    if !isVerbose { write(bytes) }
  }

  private mutating func write(_ bytes: [UInt8]) {
    guard let last = bytes.last else { return }
    endsWithNewline = last == UInt8(ascii: "\n")
    RankOutput.writeAll(bytes, to: 2)
  }

  // MARK: Stopping

  /// The first request to end is handed to mpirun; a second one kills.
  private mutating func takeSignals(_ signals: sigset_t, _ process: Int32) {
    var signals = signals
    var noWait = timespec(tv_sec: 0, tv_nsec: 0)
    while true {
      let number = unsafe sigtimedwait(&signals, nil, &noWait)
      guard number > 0 else { return }
      if stopSignal == nil {
        stopSignal = number
        descendants = ProcessTree.descendants(of: process)
        killTime = Self.now() + Self.graceSeconds
        kill(process, number == SIGHUP ? SIGTERM : number)
      } else {
        killTime = Self.now()
      }
    }
  }

  private mutating func killAll(_ process: Int32) {
    descendants = ProcessTree.descendants(of: process)
    kill(-process, SIGKILL)
    killRemaining()
    killTime = nil
  }

  /// Ends what was below mpirun and is still there: ranks lead process groups of their own.
  private func killRemaining() {
    for process in descendants where ProcessTree.isProgram(process, command.program) {
      kill(process, SIGKILL)
    }
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  // MARK: The end

  private func finish(_ status: Int32) -> Int32 {
    func tell(_ line: String) { LaunchTerminal.print((endsWithNewline ? "" : "\n") + line) }
    if let stopSignal {
      tell("stopped by signal \(stopSignal); all ranks have ended")
      return 128 + stopSignal
    }
    guard status != 0 else { return ExitCode.success }
    if status == ExitCode.savedPleaseRequeue {
      tell("stopped after saving (exit code \(status)); run again with --resume")
      return status
    }
    if var end = errors.messages.lazy.compactMap({ JobEnd(message: $0) }).first {
      // When several ranks fail alike, name the one whose words were printed.
      if let named = end.rank, end.signal == nil, errors.ranksOfFirstError.contains(named) {
        end.rank = errors.firstFailedRank
      }
      if end.host == nil, let rank = end.rank { end.host = command.hosts.host(ofRank: rank) }
      tell("error: " + end.text(rankCount: command.rankCount))
      return end.launchExitCode
    }
    if let rank = errors.firstFailedRank {
      tell("error: " + JobEnd(rank: rank, status: status).text(rankCount: command.rankCount))
      return status
    }
    let failures = errors.messages.lazy.compactMap {
      LaunchFailure.error(message: $0, hosts: command.hosts)
    }
    if let failure = failures.first {
      tell("error: \(failure)")
      return failure.exitCode
    }
    // mpirun did not get as far as running ranks, or lost a host: its own words are the best.
    let text = errors.messages.filter { !$0.contains("Primary job") }
    guard !isVerbose && !text.isEmpty else {
      tell("error: " + JobEnd(rank: nil, status: status).text(rankCount: command.rankCount))
      return status
    }
    tell("error: mpirun could not run the ranks (code \(status)). It says:")
    let lines = text.joined(separator: "\n").split(whereSeparator: \.isNewline)
    LaunchTerminal.print(lines.map { "  \($0)" }.joined(separator: "\n"))
    return status
  }
}
