package import Support

/// Failures of a job's hosts, rather than of its ranks, in the words of this program.
package enum LaunchFailure {
  /// Reads one of mpirun's messages (Open MPI 4.1 or 5).
  ///
  /// - Parameters:
  ///   - message: the text between two lines of dashes.
  ///   - hosts: of the job, for the advice.
  /// - Returns: nil for a message that is not known.
  package static func error(message: String, hosts: Hostfile) -> UserError? {
    let words = message.split(whereSeparator: \.isWhitespace).map { String($0) }
    func word(after phrase: [String], from start: Int = 0) -> String? {
      guard let end = words[start...].firstRange(of: phrase)?.upperBound, end < words.count else {
        return nil
      }
      return words[end]
    }
    if message.contains("lost communication with a remote daemon") {
      let start = words.firstRange(of: ["Remote", "daemon:"])?.lowerBound ?? 0
      return UserError(
        .distributed, at: word(after: ["on", "node"], from: start) ?? "",
        "the connection to this host was lost; all ranks were stopped",
        fix: "see whether the host is up and its network works, then run again")
    }
    if message.contains("unable to reliably start one or more daemons")
      || message.contains("unable to start one or more daemons")
    {
      let names = hosts.hosts.map(\.name)
      return UserError(
        .distributed, "Open MPI could not be started on every host of \(listed(names))",
        fix: "try each: ssh -o BatchMode=yes \(names.last ?? "HOST") mpirun --version")
    }
    if let program = word(after: ["Executable:"]) {
      return UserError(
        .distributed, at: word(after: ["Node:"]) ?? "", "cannot run \(program) there",
        fix: "the program must lie under the same path on every host")
    }
    return nil
  }

  private static func listed(_ names: [String]) -> String {
    let shown = names.prefix(6).joined(separator: ", ")
    return names.count > 6 ? "\(shown) and \(names.count - 6) more" : shown
  }
}
