internal import Glibc
internal import Support

/// A rank's connection to its launcher: tells every half second what the rank does, and ends the
/// rank when the launcher has gone.
///
/// It has a thread of its own, so that it speaks while the rank computes or waits inside MPI.
final class RankLink: Sendable {
  /// How often the launcher is told.
  private static let intervalMilliseconds: Int32 = 500
  /// A rank that hears nothing for so long ends itself.
  private static let leaseSeconds = 60.0
  /// How long a launcher that refuses connections is tried: it has ended, or is about to listen.
  private static let refusalSeconds = 10.0

  private let address: ControlAddress
  private let rank: Int
  private let host: String
  private let progress: ProgressReporter
  /// Bytes written to the second end wake the thread.
  private let wake: (reading: Int32, writing: Int32)

  private init(address: ControlAddress, rank: Int, progress: ProgressReporter) throws(UserError) {
    self.address = address
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
  ///   - address: of the launcher.
  ///   - rank: of this process.
  ///   - progress: what is told, and what is asked to stop.
  /// - Throws: ``UserError`` when the system has no thread or descriptor left.
  static func start(
    address: ControlAddress, rank: Int, progress: ProgressReporter
  ) throws(UserError) {
    let link = try RankLink(address: address, rank: rank, progress: progress)
    progress.attach(wakeDescriptor: link.wake.writing)
    try BackgroundThread.start { link.run() }
  }

  private func run() {
    while true {
      let connection = connect()
      converse(connection)
    }
  }

  // MARK: Connecting

  /// Tries until the launcher has answered.
  private func connect() -> Int32 {
    let start = SteadyClock.seconds()
    while true {
      for name in address.hosts {
        guard
          let connection = ControlSocket.connect(
            to: name, port: address.port, milliseconds: 3000)
        else { continue }
        if greet(connection) { return connection }
        close(connection)
      }
      if SteadyClock.seconds() - start > Self.refusalSeconds {
        endProcess("cannot reach the launcher at \(address.text)")
      }
      usleep(200_000)
    }
  }

  private func greet(_ connection: Int32) -> Bool {
    let hello = ControlMessage.hello(
      token: address.token, rank: rank, process: getpid(), host: host)
    guard ControlSocket.send(hello, to: connection) else { return false }
    var reader = ControlReader()
    let deadline = SteadyClock.seconds() + Self.leaseSeconds
    while SteadyClock.seconds() < deadline {
      var polled = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&polled, 1, 1000)
      switch ControlSocket.receive(connection) {
      case .nothing: continue
      case .closed: return false
      case .bytes(let bytes):
        guard let messages = reader.feed(bytes) else { return false }
        for message in messages { obey(message) }
        if messages.contains(.welcome) { return true }
      }
    }
    return false
  }

  // MARK: Speaking

  /// Returns only when the connection makes no sense any more; ends the process when it closes.
  private func converse(_ connection: Int32) {
    defer { close(connection) }
    var reader = ControlReader()
    var lastHeard = SteadyClock.seconds()
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
      switch ControlSocket.receive(connection) {
      case .nothing: break
      case .closed:
        endProcess("the launcher has ended or closed the connection")
      case .bytes(let bytes):
        lastHeard = SteadyClock.seconds()
        guard let messages = reader.feed(bytes) else { return }
        for message in messages { obey(message) }
      }
      if SteadyClock.seconds() - lastHeard > Self.leaseSeconds {
        endProcess("nothing was heard from the launcher for \(Int(Self.leaseSeconds)) s")
      }
    }
  }

  private func obey(_ message: ControlMessage) {
    switch message {
    case .stop: progress.requestStop()
    case .end: _exit(ExitCode.supervised)
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
    _exit(ExitCode.leaseExpired)
  }
}
