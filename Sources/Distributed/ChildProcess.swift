internal import Glibc
package import Support

/// A process to start, without a shell.
package struct ChildProcess {
  /// A file; it is not searched on PATH.
  package var program: String
  /// All arguments, the name of the program first.
  package var arguments: [String]
  /// The whole environment; nil passes on this process's.
  package var environment: [String: String]?
  /// Descriptors of this process and the numbers under which the child gets them.
  package var descriptors: [(parent: Int32, child: Int32)] = []
  /// Whether it leads a process group of its own, which a Ctrl-C on the terminal does not reach.
  package var leadsGroup = false

  package init(program: String, arguments: [String], environment: [String: String]? = nil) {
    self.program = program
    self.arguments = arguments
    self.environment = environment
  }

  /// Starts it with no signal blocked and every signal's default action.
  ///
  /// - Returns: its process number.
  /// - Throws: ``UserError`` when it cannot be started.
  package func start() throws(UserError) -> Int32 {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    for (parent, child) in descriptors {
      unsafe posix_spawn_file_actions_adddup2(&actions, parent, child)
    }
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var flags = Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)
    if leadsGroup { flags |= Int32(POSIX_SPAWN_SETPGROUP) }
    unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    var all = sigset_t()
    unsafe sigfillset(&all)
    unsafe posix_spawnattr_setsigdefault(&attributes, &all)

    let variables = environment ?? KernelFile.environment()
    let entries = variables.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    var process: pid_t = 0
    let code = unsafe Self.withCStrings(arguments) { argv in
      unsafe Self.withCStrings(entries) { envp in
        unsafe posix_spawn(&process, program, &actions, &attributes, argv, envp)
      }
    }
    guard code == 0 else {
      throw UserError(.system, at: program, "cannot start: \(systemErrorText(code))")
    }
    return process
  }

  /// Becomes the program: returns only when that fails.
  package func replaceThisProcess() throws(UserError) -> Never {
    let variables = environment ?? KernelFile.environment()
    let entries = variables.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    unsafe Self.withCStrings(arguments) { argv in
      unsafe Self.withCStrings(entries) { envp in
        _ = unsafe execve(program, argv, envp)
      }
    }
    throw UserError(.system, at: program, "cannot start: \(systemErrorText())")
  }

  /// Calls `body` with an array of C strings that ends with nil.
  private static func withCStrings<Result>(
    _ strings: [String],
    _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
    defer { for index in strings.indices { unsafe free(pointers[index]) } }
    return unsafe pointers.withUnsafeMutableBufferPointer { buffer in
      // The array ends with nil, so it is never empty.
      guard let base = buffer.baseAddress else { preconditionFailure("an array without address") }
      return unsafe body(base)
    }
  }
}
