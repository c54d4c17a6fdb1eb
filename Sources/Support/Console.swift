internal import Glibc

/// What the program says to its user: results on standard output, all else on standard error.
package enum Console {
  /// Writes `text` to standard error at once, as one write where the system allows.
  package static func writeError(_ text: String) { write(text, to: STDERR_FILENO) }

  /// Writes `text` to standard output at once.
  package static func writeOutput(_ text: String) { write(text, to: STDOUT_FILENO) }

  /// Whether standard output is a terminal and not a file or a pipe.
  package static var isOutputTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  /// `error: location: message` and the fix on a line of its own.
  package static func report(_ error: any Error) {
    writeError("error: \(error)\n")
  }

  /// A reader that went away is no failure of the program, so errors end the writing only.
  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      bytes.removeFirst(count)
    }
  }
}
