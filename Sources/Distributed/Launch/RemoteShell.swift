package import Support

/// How other hosts are reached: mpirun and the check before the start use the same words.
package struct RemoteShell: Sendable, Equatable {
  /// Connections that nobody answers end within seconds, and nobody is asked for a password.
  package static let defaultArguments = [
    "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2", "-o",
    "BatchMode=yes",
  ]

  /// The program, on PATH or absolute.
  package var program = "ssh"
  package var arguments = defaultArguments

  /// - Parameters:
  ///   - configuration: an ssh configuration file instead of the user's own.
  ///   - directory: where a relative path begins.
  /// - Throws: ``UserError`` for a path that cannot stand in Open MPI's settings.
  package init(configuration: String? = nil, directory: String = "/") throws(UserError) {
    guard let configuration else { return }
    let path = configuration.hasPrefix("/") ? configuration : "\(directory)/\(configuration)"
    guard EnvironmentScrubber.isPlain(path) else {
      throw UserError(
        .usage, at: "--ssh-config \(configuration)",
        "the path may have letters, digits and _.,:/^+- only",
        fix: "give a copy of the file under another name")
    }
    guard FileSystem.exists(path), !FileSystem.isDirectory(path) else {
      throw UserError(
        .usage, at: "--ssh-config \(configuration)", "there is no such file",
        fix: "give a file in the format of ~/.ssh/config")
    }
    arguments = ["-F", path] + arguments
  }

  /// Takes over the user's own settings of Open MPI.
  ///
  /// - Parameter environment: after ``EnvironmentScrubber``, so that values are plain.
  package mutating func useSettings(_ environment: [String: String]) {
    for prefix in ["OMPI_MCA_", "PRTE_MCA_"] {
      for kind in ["rsh", "ssh"] {
        if let agent = environment["\(prefix)plm_\(kind)_agent"] {
          program = String(agent.split(separator: ":").first ?? "ssh")
        }
        if let words = environment["\(prefix)plm_\(kind)_args"] { arguments = [words] }
      }
    }
  }

  /// The value of Open MPI's setting; no word has a space in it.
  package var setting: String { arguments.joined(separator: " ") }

  /// The words, after the program's name, that run a program on a host.
  ///
  /// - Parameters:
  ///   - words: the program and its arguments.
  ///   - host: a name that ``Hostfile`` accepted.
  package func arguments(running words: [String], on host: String) -> [String] {
    // The login shell of the other host reads the line.
    arguments + [host, (["exec"] + words.map { Self.quoted($0) }).joined(separator: " ")]
  }

  /// A word that a shell takes as it is.
  package static func quoted(_ word: String) -> String {
    let parts = word.split(separator: "'", omittingEmptySubsequences: false)
    return "'" + parts.joined(separator: "'\\''") + "'"
  }
}
