import DistributedTraining
import Glibc

/// Passes on what ranks write to stderr, and keeps what mpirun itself says there.
struct RankPrinter {
  private let isVerbose: Bool
  /// Whether what comes from now on is kept back; the launcher's own lines are not.
  var isMuted = false
  private(set) var errors = MPIRunErrors()
  private var endsWithNewline = true
  /// How many times in a row nothing came.
  private var idleTicks = 0

  init(isVerbose: Bool) { self.isVerbose = isVerbose }

  /// Waits for bytes for up to a tick; returns whether more can come.
  mutating func passOn(from input: Int32, milliseconds: Int32) -> Bool {
    var polled = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
    let ready = unsafe poll(&polled, 1, milliseconds)
    if ready == 0 {
      // Something that looked like mpirun's was not, or mpirun stopped in the middle of a message.
      idleTicks += 1
      if errors.isHolding && (!errors.isInMessage || idleTicks > 20) { flush() }
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

  /// Writes what was held back.
  mutating func flush() { pass(errors.flush()) }

  /// Writes a line of the launcher's own.
  mutating func tell(_ line: String) {
    LaunchTerminal.print((endsWithNewline ? "" : "\n") + line)
    endsWithNewline = true
  }

  /// Writes what ranks said; when verbose, everything was written already.
  private mutating func pass(_ bytes: [UInt8]) {
    if !isVerbose { write(bytes) }
  }

  private mutating func write(_ bytes: [UInt8]) {
    guard !isMuted || isVerbose, let last = bytes.last else { return }
    endsWithNewline = last == UInt8(ascii: "\n")
    RankOutput.writeAll(bytes, to: 2)
  }
}
