internal import Glibc

/// How wide the user's terminal is.
///
/// Under `mpirun` a rank's stdout looks like a terminal even when the job's goes to a file, so
/// `launch` tells through a variable; only without ranks is the terminal itself asked.
package enum TerminalWidth {
  package static let variable = "ACCELERATE_TERMINAL_COLUMNS"

  /// Columns of the terminal that progress is shown on; nil when there is none.
  ///
  /// - Parameter environment: where the variable, and signs of `mpirun`, are looked up.
  package static func columns(environment: [String: String] = KernelFile.environment()) -> Int? {
    if let text = environment[variable] { return Int(text).flatMap { $0 > 0 ? $0 : nil } }
    return environment["OMPI_COMM_WORLD_SIZE"] == nil ? askTerminal() : nil
  }

  /// Columns of the terminal that stderr or stdout goes to.
  package static func askTerminal() -> Int? {
    for descriptor: Int32 in [2, 1] {
      var size = winsize()
      if unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 {
        return Int(size.ws_col)
      }
    }
    return nil
  }
}
