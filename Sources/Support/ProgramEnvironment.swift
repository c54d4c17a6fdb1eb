/// What the process was given from outside, read once at the start by the launcher.
package struct ProgramEnvironment: Sendable {
  /// From ACCELERATE_THREADS, else this rank's share of the cores; at least 1.
  package var threads: Int
  /// Whether progress is drawn as a bar.
  package var isTerminal: Bool
  package var terminalColumns: Int
  /// Where quantized bases, tokens and kernels are kept.
  package var cacheDirectory: String
  /// How much tokenized data is kept there.
  package var cacheByteLimit: Int
  /// Variables that say where libraries lie that are opened at run time.
  package var libraryVariables: [String: String]

  package init(
    threads: Int = 1, isTerminal: Bool = false, terminalColumns: Int = 80, cacheDirectory: String,
    cacheByteLimit: Int = Self.defaultCacheGigabytes << 30,
    libraryVariables: [String: String] = [:]
  ) {
    self.cacheByteLimit = cacheByteLimit
    self.libraryVariables = libraryVariables
    self.threads = threads
    self.isTerminal = isTerminal
    self.terminalColumns = terminalColumns
    self.cacheDirectory = cacheDirectory
  }

  package static let defaultCacheGigabytes = 20

  /// Threads of this process: the value of `--threads`, or for 0 what the environment says.
  package func threadCount(flag: Int) -> Int { flag > 0 ? flag : threads }
}
