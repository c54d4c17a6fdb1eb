internal import Glibc
internal import Support

/// A rank's connection to its supervisor: tells every half second what the rank does, and ends the
/// rank when the supervisor has gone.
///
/// It has a thread of its own, so that it speaks while the rank computes or waits inside MPI.
final class RankLink: Sendable {
  /// Who judges the job.
  enum Supervisor {
    /// The parent of mpirun.
    case launch
    /// Rank 0, where the ranks were started by mpirun or srun alone.
    case rankZero

    var name: String { self == .launch ? "the launcher" : "rank 0" }

    /// How long one that does not say hello, and one that refuses connections, is tried: it is
    /// stopped, has ended, or is about to listen.
    var greetingSeconds: Double { self == .launch ? 60 : 7 }
    var refusalSeconds: Double { self == .launch ? 10 : 7 }

    /// How long mpirun or srun may take to see that rank 0 is gone; its words are better.
    var noticeSeconds: Double { self == .launch ? 0 : 3 }
  }

  /// How often the supervisor is told.
  private static let intervalMilliseconds: Int32 = 500

  private let address: ControlAddress
  private let supervisor: Supervisor
  private let rank: Int
  private let host: String
  private let progress: ProgressReporter
  /// Bytes written to the second end wake the thread.
  private let wake: (reading: Int32, writing: Int32)

  private init(
    address: ControlAddress, supervisor: Supervisor, rank: Int, progress: ProgressReporter
  ) throws(UserError) {
    self.address = address
    self.supervisor = supervisor
    self.rank = rank
    self.progress = progress
    host = KernelFile.firstLine("/proc/sys/kernel/hostname") ?? "localhost"
    wake = try RankOutput.pipe()
    // Whoever wakes this thread must not wait for it.
    _ = fcntl(wake.writing, F_SETFL, O_NONBLOCK)
  }

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - address: of the supervisor.
  ///   - supervisor: who it is.
  ///   - rank: of this process.
  ///   - progress: what is told, and what is asked to stop.
  /// - Throws: ``UserError`` when the system has no thread or descriptor left.
  static func start(
    address: ControlAddress, supervisor: Supervisor, rank: Int, progress: ProgressReporter
  ) throws(UserError) {
    let link = try RankLink(
      address: address, supervisor: supervisor, rank: rank, progress: progress)
    progress.attach(wakeDescriptor: link.wake.writing)
    try BackgroundThread.start { link.run() }
  }

  private func run() {
    while true {
      let (connection, leaseSeconds) = connect()
      converse(connection, leaseSeconds: Double(leaseSeconds))
    }
  }

  // MARK: Connecting

  /// Tries until the supervisor has answered.
  private func connect() -> (connection: Int32, leaseSeconds: Int) {
    let start = SteadyClock.seconds()
    while true {
      for name in address.hosts {
        guard
          let connection = ControlSocket.connect(
            to: name, port: address.port, milliseconds: 3000)
        else { continue }
        if let leaseSeconds = greet(connection) { return (connection, leaseSeconds) }
        close(connection)
      }
      if SteadyClock.seconds() - start > supervisor.refusalSeconds {
        endProcess(
          "cannot reach \(supervisor.name) at \(address.text)\n  fix: let hosts connect to each other"
            + (supervisor == .launch
              ? ", or choose the launcher's address with launch --control-address" : ""))
      }
      usleep(200_000)
    }
  }

  /// Returns the lease; nil when this is not the supervisor, or it does not answer.
  private func greet(_ connection: Int32) -> Int? {
    let hello = ControlMessage.hello(
      token: address.token, rank: rank, process: getpid(), host: host,
      job: SharedSegments.job(ofEnvironment: KernelFile.environment()) ?? 0)
    guard ControlSocket.send(hello, to: connection) else { return nil }
    var reader = ControlReader()
    let deadline = SteadyClock.seconds() + supervisor.greetingSeconds
    while SteadyClock.seconds() < deadline {
      var polled = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&polled, 1, 1000)
      switch ControlSocket.receive(connection) {
      case .nothing: continue
      case .closed: return nil
      case .bytes(let bytes):
        guard let messages = reader.feed(bytes) else { return nil }
        for message in messages { obey(message) }
        for case .welcome(let leaseSeconds) in messages { return leaseSeconds }
      }
    }
    return nil
  }

  // MARK: Speaking

  /// Returns only when the connection makes no sense any more; ends the process when it closes.
  private func converse(_ connection: Int32, leaseSeconds: Double) {
    defer { close(connection) }
    var reader = ControlReader()
    var lastHeard = SteadyClock.seconds()
    var lastTime = lastHeard
    while true {
      let waiting = progress.outbox
      var sent = 0
      while sent < waiting.count, ControlSocket.send(waiting[sent], to: connection) { sent += 1 }
      progress.didSend(sent)
      _ = ControlSocket.send(.report(progress.report), to: connection)

      var polled = [
        pollfd(fd: connection, events: Int16(POLLIN), revents: 0),
        pollfd(fd: wake.reading, events: Int16(POLLIN), revents: 0),
      ]
      _ = unsafe poll(&polled, 2, Self.intervalMilliseconds)
      if polled[1].revents != 0 {
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = unsafe read(wake.reading, &bytes, bytes.count)
      }
      let now = SteadyClock.seconds()
      // This process was stopped itself, as a suspended job is, and could not hear anybody.
      if now - lastTime > 2 { lastHeard += now - lastTime }
      lastTime = now
      switch ControlSocket.receive(connection) {
      case .nothing: break
      case .closed: supervisorHasGone()
      case .bytes(let bytes):
        lastHeard = now
        guard let messages = reader.feed(bytes) else { return }
        for message in messages { obey(message) }
      }
      if now - lastHeard > leaseSeconds {
        endProcess("nothing was heard from \(supervisor.name) for \(Int(leaseSeconds)) s")
      }
    }
  }

  private func supervisorHasGone() {
    let start = SteadyClock.seconds()
    repeat {
      // Nobody has to watch over the last moments of a rank.
      if progress.hasAnnouncedEnd { while true { pause() } }
      if SteadyClock.seconds() - start < supervisor.noticeSeconds { usleep(50_000) }
    } while SteadyClock.seconds() - start < supervisor.noticeSeconds
    endProcess("\(supervisor.name) has ended or closed the connection")
  }

  private func obey(_ message: ControlMessage) {
    switch message {
    case .stop: progress.requestStop()
    // Rank 0, where it judges itself, ends after the others.
    case .end where supervisor == .launch || rank != 0: leave(ExitCode.supervised)
    default: break
    }
  }

  /// Ends this rank, and Open MPI's process above it, which may not notice on a host that is cut
  /// off and would stay for a quarter of an hour.
  private func endProcess(_ reason: String) -> Never {
    let text = "\(rank == 0 ? "[rank 0] " : "")error: rank \(rank) on \(host) ends: \(reason)\n"
    var polled = pollfd(fd: 2, events: Int16(POLLOUT), revents: 0)
    // Nobody may be reading any more.
    if unsafe poll(&polled, 1, 500) == 1 { RankOutput.writeAll(Array(text.utf8), to: 2) }
    let parent = getppid()
    if let name = KernelFile.firstLine("/proc/\(parent)/comm"), ["orted", "prted"].contains(name) {
      // The last words still have to pass through it.
      usleep(100_000)
      kill(parent, SIGKILL)
    }
    leave(ExitCode.leaseExpired)
  }

  /// Ends without MPI's end, which may wait for ranks that are gone.
  private func leave(_ code: Int32) -> Never {
    if let job = SharedSegments.job(ofEnvironment: KernelFile.environment()) {
      SharedSegments.remove(job: job)
    }
    _exit(code)
  }
}
