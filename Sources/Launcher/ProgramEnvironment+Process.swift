import Glibc
import Support

extension ProgramEnvironment {
  /// What this process was given. The only reader of environment variables beside the rendezvous.
  init(process: Void = ()) throws(UserError) {
    let columns = try Self.count("ACCELERATE_TERMINAL_COLUMNS")
    self.init(
      requestedThreads: try Self.count("ACCELERATE_THREADS"),
      coreCount: ProcessStatus.availableCoreCount,
      localRankCount: try Self.count("OMPI_COMM_WORLD_LOCAL_SIZE") ?? 1,
      isTerminal: columns != nil || isatty(STDERR_FILENO) == 1,
      terminalColumns: columns ?? Self.windowColumns ?? 80,
      cacheDirectory: Self.cacheDirectory)
  }

  private static func variable(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
  }

  private static func count(_ name: String) throws(UserError) -> Int? {
    guard let text = variable(name) else { return nil }
    guard let number = Int(text), (1...1024).contains(number) else {
      throw UserError(
        .usage, at: "environment variable \(name)",
        "\"\(text.prefix(80))\" is out of range; it must be an integer from 1 to 1024",
        fix: "unset \(name)")
    }
    return number
  }

  private static var windowColumns: Int? {
    var size = winsize()
    guard unsafe ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
      return nil
    }
    return Int(size.ws_col)
  }

  private static var cacheDirectory: String {
    let name = "accelerate-swift"
    if let cache = variable("XDG_CACHE_HOME") { return "\(cache)/\(name)" }
    if let home = variable("HOME") { return "\(home)/.cache/\(name)" }
    return "/tmp/\(name)-\(getuid())"
  }
}
