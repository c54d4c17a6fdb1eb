import DistributedTraining
import Glibc
import Support

extension ProgramEnvironment {
  /// Reads what this process was given.
  ///
  /// - Parameter variables: the environment.
  /// - Throws: ``UserError`` for a variable of this program with a value that makes no sense.
  init(_ variables: [String: String]) throws(UserError) {
    _ = try Self.count(CPUBudget.threadsVariable, variables)
    _ = try Self.count(TerminalWidth.variable, variables)
    let columns = TerminalWidth.columns(environment: variables)
    let step = SlurmStep(variables)
    let sharerCount =
      variables["OMPI_COMM_WORLD_LOCAL_SIZE"].flatMap { Int($0) } ?? step?.sharerCount ?? 1
    var threads = CPUBudget.threadsPerRank(localWorldSize: sharerCount, environment: variables)
    if let count = step?.processorsPerTask, variables[CPUBudget.threadsVariable] == nil {
      threads = min(count, CPUBudget.coreCount())
    }
    self.init(
      threads: threads,
      isTerminal: columns != nil,
      terminalColumns: columns ?? 80,
      cacheDirectory: Self.cacheDirectory(variables),
      cacheByteLimit: (try Self.count("ACCELERATE_CACHE_GB", variables)
        ?? Self.defaultCacheGigabytes) << 30,
      libraryVariables: variables.filter { name, _ in
        (name.hasPrefix("ACCELERATE_") && (name.hasSuffix("_LIB") || name.hasSuffix("_LIB_DIR")))
          || ["CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "HOME", NearCores.sysfsVariable].contains(
            name)
      })
  }

  /// A small positive number; nil when the variable is not set or empty.
  private static func count(_ name: String, _ variables: [String: String]) throws(UserError)
    -> Int?
  {
    guard let text = variables[name], !text.isEmpty else { return nil }
    guard let number = Int(text), (1...1024).contains(number) else {
      throw UserError(
        .usage, at: "environment variable \(name)",
        "\"\(text.prefix(80))\" is out of range; it must be an integer from 1 to 1024",
        fix: "unset \(name)")
    }
    return number
  }

  private static func cacheDirectory(_ variables: [String: String]) -> String {
    let name = "accelerate-swift"
    // The specification of XDG_CACHE_HOME: a relative path is ignored.
    if let cache = variables["XDG_CACHE_HOME"], cache.hasPrefix("/") { return "\(cache)/\(name)" }
    if let home = variables["HOME"], !home.isEmpty { return "\(home)/.cache/\(name)" }
    return "/tmp/\(name)-\(getuid())"
  }
}
