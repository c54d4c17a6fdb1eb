/// How a job ended that did not end well, from what `mpirun` says.
package struct JobEnd: Sendable, Equatable {
  package var rank: Int?
  package var host: String?
  package var exitCode: Int32?
  package var signal: Int32?

  /// Reads one of mpirun's messages (Open MPI 4.1 or 5).
  ///
  /// - Parameter message: the text between two lines of dashes.
  /// - Returns: nil when it does not name the rank that ended the job.
  package init?(message: String) {
    let words = message.split(whereSeparator: \.isWhitespace).map { String($0) }
    func number(after phrase: [String]) -> Int? {
      guard let start = words.firstRange(of: phrase)?.upperBound, start < words.count else {
        return nil
      }
      return Int(words[start])
    }
    if let rank = number(after: ["process", "rank"]),
      let signal = number(after: ["on", "signal"])
    {
      self.rank = rank
      self.signal = Int32(signal)
      if let index = words.firstRange(of: ["on", "node"])?.upperBound, index < words.count {
        host = words[index]
      }
      return
    }
    // "Process name: [[31341,1],2]" or "[prterun-node-a-77@1,2]": the rank is the last number.
    guard let index = words.firstRange(of: ["Process", "name:"])?.upperBound,
      index < words.count, words[index].hasSuffix("]"),
      let rank = words[index].dropLast().split(separator: ",").last.flatMap({ Int($0) }),
      let code = number(after: ["Exit", "code:"])
    else { return nil }
    self.rank = rank
    exitCode = Int32(truncatingIfNeeded: code)
  }

  /// - Parameters:
  ///   - rank: the rank that failed first, when known.
  ///   - status: mpirun's own exit code, 128 + n for signal n.
  package init(rank: Int?, status: Int32) {
    self.rank = rank
    if status > 128 && status < 128 + 65 { signal = status - 128 } else { exitCode = status }
  }

  /// What `launch` ends with.
  package var launchExitCode: Int32 { signal.map { 128 + $0 } ?? exitCode ?? 1 }

  /// One sentence for the user.
  ///
  /// - Parameters:
  ///   - rankCount: of the job.
  ///   - place: the rank's process number and what it did last, where that is known and tells
  ///     more than the rank's own error.
  package func text(rankCount: Int, place: (process: Int32, text: String)? = nil) -> String {
    var text = rank.map { "rank \($0)" } ?? "a rank"
    if let host { text += " on \(host)" }
    if let place { text += " (pid \(place.process))" }
    if let signal {
      text += " was ended by signal \(signal)"
      if let name = Self.signalNames[signal] { text += " (\(name))" }
    } else {
      text += " exited with code \(exitCode ?? 1)"
    }
    if let place { text += " in \(place.text)" }
    return rankCount > 1 ? text + "; the other ranks were stopped" : text
  }

  private static let signalNames: [Int32: String] = [
    1: "SIGHUP", 2: "SIGINT", 4: "SIGILL, a failed check inside the program", 5: "SIGTRAP",
    6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL, often the kernel when memory runs out",
    11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM",
  ]
}
