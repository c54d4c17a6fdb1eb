import DistributedTraining

/// What `launch` itself writes.
enum LaunchTerminal {
  /// Writes a line to stderr.
  static func print(_ line: String) {
    RankOutput.writeAll(Array((line + "\n").utf8), to: 2)
  }
}
