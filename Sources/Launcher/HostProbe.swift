import DistributedTraining
import Glibc
import Support

/// Runs a program for every host at the same time and collects what each prints.
struct HostProbe {
  struct Ending {
    var exitCode: Int32
    var output: String
    var errors: String
    var isTimedOut = false
  }

  private struct Running {
    var process: Int32
    var output: Int32
    var errors: Int32
    var ending = Ending(exitCode: -1, output: "", errors: "")
    var bytes: [[UInt8]] = [[], []]
  }

  /// More output than this of one host is not kept.
  private static let maximumByteCount = 1 << 22

  /// Runs all children to their end.
  ///
  /// - Parameters:
  ///   - children: what to start; their input and output are set here.
  ///   - input: what each reads.
  ///   - seconds: children that run longer are killed.
  /// - Returns: how each ended, in the same order.
  static func run(
    _ children: [ChildProcess], input: String, seconds: Double
  ) throws(UserError) -> [Ending] {
    // A child that ends before it has read everything must not end this process.
    signal(SIGPIPE, SIG_IGN)
    defer { signal(SIGPIPE, SIG_DFL) }
    var running: [Running] = []
    defer { for child in running where child.ending.exitCode < 0 { kill(child.process, SIGKILL) } }
    for child in children { running.append(try start(child, input)) }

    let end = SteadyClock.seconds() + seconds
    while running.contains(where: { $0.output >= 0 || $0.errors >= 0 }) {
      let left = end - SteadyClock.seconds()
      if left <= 0 { break }
      readAll(&running, milliseconds: Int32(min(left, 1) * 1000) + 1)
    }
    for index in running.indices { finish(&running[index]) }
    return running.map(\.ending)
  }

  private static func start(_ child: ChildProcess, _ input: String) throws(UserError) -> Running {
    let (asked, output, errors) = (
      try RankOutput.pipe(), try RankOutput.pipe(), try RankOutput.pipe()
    )
    var child = child
    child.descriptors = [(asked.reading, 0), (output.writing, 1), (errors.writing, 2)]
    let process = try child.start()
    for descriptor in [asked.reading, output.writing, errors.writing] { close(descriptor) }
    // Less than a pipe holds, so this never waits.
    RankOutput.writeAll(Array(input.utf8), to: asked.writing)
    close(asked.writing)
    return Running(process: process, output: output.reading, errors: errors.reading)
  }

  /// Waits for bytes of any child and keeps them.
  private static func readAll(_ running: inout [Running], milliseconds: Int32) {
    var polled: [pollfd] = []
    for child in running {
      // poll ignores negative descriptors.
      polled.append(pollfd(fd: child.output, events: Int16(POLLIN), revents: 0))
      polled.append(pollfd(fd: child.errors, events: Int16(POLLIN), revents: 0))
    }
    guard unsafe poll(&polled, nfds_t(polled.count), milliseconds) > 0 else { return }
    var buffer = [UInt8](repeating: 0, count: 65536)
    for (position, entry) in polled.enumerated() where entry.revents != 0 {
      let (index, stream) = (position / 2, position % 2)
      let count = unsafe read(entry.fd, &buffer, buffer.count)
      if count > 0 {
        if running[index].bytes[stream].count < maximumByteCount {
          running[index].bytes[stream] += buffer[..<count]
        }
      } else if count == 0 || errno != EINTR {
        close(entry.fd)
        if stream == 0 { running[index].output = -1 } else { running[index].errors = -1 }
      }
    }
  }

  private static func finish(_ child: inout Running) {
    if child.output >= 0 || child.errors >= 0 {
      child.ending.isTimedOut = true
      kill(child.process, SIGKILL)
      for descriptor in [child.output, child.errors] where descriptor >= 0 { close(descriptor) }
    }
    var status: Int32 = 0
    while unsafe waitpid(child.process, &status, 0) < 0 && errno == EINTR {}
    child.ending.exitCode = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    child.ending.output = String(decoding: child.bytes[0], as: UTF8.self)
    child.ending.errors = String(decoding: child.bytes[1], as: UTF8.self)
  }
}
