internal import Glibc
package import Support

/// Marks the output of every rank but 0 with `[rank N] `, line by line.
///
/// A small process of its own does it, so that the last words of a rank that crashes are not
/// lost. Rank 0 writes straight through, so that its progress bar works.
///
/// Open MPI forwards at most 4096 bytes of a rank at a time. Where several ranks write more than
/// that at once, a line of one may stand inside a line of another; no byte is lost.
package enum RankOutput {
  /// The hidden subcommand whose body is ``relay(rank:)``.
  package static let relayCommand = "_rank-output"

  /// A line longer than this is passed on in parts.
  private static let maximumLineByteCount = 1 << 16

  /// Sends this process's stdout and stderr through the marking process. Call it once, before
  /// anything is printed.
  ///
  /// - Parameters:
  ///   - rank: nothing is done for rank 0.
  ///   - program: this program's file.
  /// - Throws: ``UserError`` when the process cannot be started.
  package static func install(
    rank: Int, program: String = "/proc/self/exe"
  ) throws(UserError) {
    guard rank != 0 else { return }
    let output = try pipe()
    let errors = try pipe()
    // The relay reads stdout's bytes from descriptor 0 and stderr's from 3.
    var relay = ChildProcess(program: program, arguments: [program, relayCommand, "\(rank)"])
    relay.descriptors = [(output.reading, 0), (errors.reading, 3)]
    _ = try relay.start()
    fflush(nil)
    guard dup2(output.writing, 1) >= 0, dup2(errors.writing, 2) >= 0 else {
      throw UserError(.system, "cannot redirect the output of rank \(rank): \(systemErrorText())")
    }
    for descriptor in [output.reading, output.writing, errors.reading, errors.writing] {
      close(descriptor)
    }
  }

  /// Passes lines from descriptors 0 and 3 to stdout and stderr until both end.
  ///
  /// - Parameter rank: named in front of each line.
  /// - Returns: the exit code.
  package static func relay(rank: Int) -> Int32 {
    // It outlives its rank by what is still in the pipes, so the signals that end a job are for
    // the rank alone.
    for number in [SIGINT, SIGTERM, SIGHUP] { _ = signal(number, SIG_IGN) }
    let prefix = Array("[rank \(rank)] ".utf8)
    var streams: [(input: Int32, output: Int32, held: [UInt8])] = [(0, 1, []), (3, 2, [])]
    var buffer = [UInt8](repeating: 0, count: maximumLineByteCount)
    while !streams.isEmpty {
      var polled = streams.map { pollfd(fd: $0.input, events: Int16(POLLIN), revents: 0) }
      if unsafe poll(&polled, nfds_t(polled.count), -1) < 0 {
        if errno == EINTR { continue }
        return ExitCode.failure
      }
      for index in streams.indices.reversed() where polled[index].revents != 0 {
        let count = unsafe read(streams[index].input, &buffer, buffer.count)
        if count < 0 && errno == EINTR { continue }
        if count > 0 { streams[index].held += buffer[..<count] }
        let isAtEnd = count <= 0
        let marked = takeLines(&streams[index].held, prefix, isAtEnd: isAtEnd)
        writeAll(marked, to: streams[index].output)
        if isAtEnd { streams.remove(at: index) }
      }
    }
    return ExitCode.success
  }

  /// Removes the whole lines from `held` and returns them with their prefix.
  static func takeLines(
    _ held: inout [UInt8], _ prefix: [UInt8], isAtEnd: Bool = false
  ) -> [UInt8] {
    let newline = UInt8(ascii: "\n")
    var marked: [UInt8] = []
    while let end = held.firstIndex(of: newline) {
      marked += prefix + held[...end]
      held.removeSubrange(...end)
    }
    if !held.isEmpty && (isAtEnd || held.count >= maximumLineByteCount) {
      marked += prefix + held + [newline]
      held = []
    }
    return marked
  }

  package static func pipe() throws(UserError) -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [-1, -1]
    guard unsafe Glibc.pipe(&ends) == 0 else {
      throw UserError(.system, "cannot make a pipe: \(systemErrorText())")
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
  }

  /// Writes all bytes; gives up when the reader has gone.
  package static func writeAll(_ bytes: [UInt8], to descriptor: Int32) {
    var offset = 0
    while offset < bytes.count {
      let count = unsafe bytes[offset...].withUnsafeBytes {
        unsafe write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      if count < 0 && errno == EAGAIN {
        var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = unsafe poll(&polled, 1, -1)
        continue
      }
      guard count > 0 else { return }
      offset += count
    }
  }
}
