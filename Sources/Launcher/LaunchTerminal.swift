import DistributedTraining
import Glibc

/// What `launch` itself writes and knows of the terminal.
enum LaunchTerminal {
  /// Tells rank 0 how wide the terminal is; its own stdout and stderr are pipes of mpirun.
  static let columnsVariable = "ACCELERATE_TERMINAL_COLUMNS"

  /// Writes a line to stderr.
  static func print(_ line: String) {
    RankOutput.writeAll(Array((line + "\n").utf8), to: 2)
  }

  /// Columns of the terminal that stderr or stdout goes to; nil when neither is one.
  static func columns() -> Int? {
    for descriptor: Int32 in [2, 1] {
      var size = winsize()
      if unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 {
        return Int(size.ws_col)
      }
    }
    return nil
  }
}
