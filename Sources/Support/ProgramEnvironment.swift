/// What the process was given from outside, read once at the start by the launcher.
package struct ProgramEnvironment: Sendable {
  /// From ACCELERATE_THREADS; nil when it is not set.
  package var requestedThreads: Int?
  /// Cores this process may run on.
  package var coreCount: Int
  /// Ranks on this host, which share its cores.
  package var localRankCount: Int
  /// Whether progress is drawn as a bar.
  package var isTerminal: Bool
  package var terminalColumns: Int
  /// Where quantized bases, tokens and kernels are kept.
  package var cacheDirectory: String

  package init(
    requestedThreads: Int? = nil, coreCount: Int = 1, localRankCount: Int = 1,
    isTerminal: Bool = false, terminalColumns: Int = 80, cacheDirectory: String
  ) {
    self.requestedThreads = requestedThreads
    self.coreCount = coreCount
    self.localRankCount = localRankCount
    self.isTerminal = isTerminal
    self.terminalColumns = terminalColumns
    self.cacheDirectory = cacheDirectory
  }

  /// Threads of this process.
  ///
  /// - Parameter flag: the value of `--threads`; 0 leaves it to the environment.
  /// - Returns: at least 1: the flag, ACCELERATE_THREADS, or this rank's share of the cores.
  package func threadCount(flag: Int) -> Int {
    if flag > 0 { return flag }
    return requestedThreads ?? max(1, coreCount / max(1, localRankCount))
  }
}
