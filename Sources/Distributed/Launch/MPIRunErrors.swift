/// Separates what ranks write to stderr from what `mpirun` itself says there.
///
/// Bytes of ranks pass as they come, so that a progress bar moves. mpirun's messages, which stand
/// between two lines of dashes, are taken out and kept. An error that several ranks report in the
/// same words is passed on once.
package struct MPIRunErrors {
  /// mpirun's messages so far, without the dashes.
  package private(set) var messages: [String] = []
  /// The rank whose error was seen first.
  package private(set) var firstFailedRank: Int?
  /// All ranks that reported that same error.
  package private(set) var ranksOfFirstError: Set<Int> = []
  /// Whether something is held back until more arrives; see ``flush()``.
  package var isHolding: Bool { !pending.isEmpty || !line.isEmpty }

  /// Bytes not yet looked at, or a message without its end.
  private var pending: [UInt8] = []
  /// Whether a message has begun and its end has not arrived.
  package private(set) var isInMessage = false
  /// The start of a line that may turn out to be mpirun's.
  private var line: [UInt8] = []
  private var isAtLineStart = true
  private var firstError = ""
  private var seenErrors: Set<String> = []
  /// The rank whose repeated error is being left out.
  private var silencedRank: Int?

  private static let dash = UInt8(ascii: "-")
  private static let newline = UInt8(ascii: "\n")
  /// mpirun's rules have 74 dashes.
  private static let minimumRuleByteCount = 70
  /// A message longer than this is none.
  private static let maximumMessageByteCount = 1 << 16

  package init() {}

  /// Takes the bytes that mpirun wrote and returns those to pass on.
  package mutating func feed(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    pending += bytes
    var output: [UInt8] = []
    while let rule = nextRule() {
      if isInMessage {
        output += endMessage(Array(pending[..<rule.lowerBound]))
      } else {
        output += pass(pending[..<rule.lowerBound])
      }
      isInMessage.toggle()
      isAtLineStart = true
      pending.removeSubrange(..<rule.upperBound)
    }
    if isInMessage {
      if pending.count > Self.maximumMessageByteCount { output += flush() }
    } else {
      // Dashes at the end may become a rule.
      let dashes = pending.reversed().prefix { $0 == Self.dash }.count
      output += pass(pending.dropLast(dashes))
      pending.removeFirst(pending.count - dashes)
    }
    return output
  }

  /// Returns what is held back; for when nothing has arrived for a while, and for the end.
  package mutating func flush() -> [UInt8] {
    var output: [UInt8] = []
    if isInMessage {
      output += endMessage(pending)
      isInMessage = false
    } else {
      output += pass(pending[...])
    }
    pending = []
    output += line
    line = []
    return output
  }

  /// The next line of dashes in `pending`.
  private func nextRule() -> Range<Int>? {
    var start = 0
    while let first = pending[start...].firstIndex(of: Self.dash) {
      let end = pending[first...].firstIndex { $0 != Self.dash } ?? pending.count
      guard end < pending.count else { return nil }
      if end - first >= Self.minimumRuleByteCount && pending[end] == Self.newline {
        return first..<end + 1
      }
      start = end
    }
    return nil
  }

  /// Keeps a message of mpirun. Other text between rules belongs to a rank and is passed on.
  private mutating func endMessage(_ bytes: [UInt8]) -> [UInt8] {
    let text = String(decoding: bytes, as: UTF8.self)
    let marks = [
      "mpirun", "prterun", "Open MPI", "ORTE", "PRTE", "PRRTE", "PMIx", "MPI_", "Primary job",
      "daemon", "OpenFabrics",
    ]
    if marks.contains(where: { text.contains($0) }) {
      messages.append(text)
      return []
    }
    let rule = [UInt8](repeating: Self.dash, count: 74) + [Self.newline]
    return rule + bytes + rule
  }

  /// Passes bytes of ranks, holding only lines that begin like one of mpirun's or a rank's.
  private mutating func pass(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var output: [UInt8] = []
    for byte in bytes {
      if isAtLineStart && byte == UInt8(ascii: "[") || !line.isEmpty {
        line.append(byte)
        if byte == Self.newline {
          if isPassed(String(decoding: line, as: UTF8.self)) { output += line }
          line = []
        } else if byte == UInt8(ascii: "\r") || line.count > 4096 {
          output += line
          line = []
        }
      } else {
        output.append(byte)
        if isAtLineStart { silencedRank = nil }
      }
      isAtLineStart = byte == Self.newline
    }
    return output
  }

  /// Whether a whole line that begins with `[` is passed on.
  private mutating func isPassed(_ line: String) -> Bool {
    for noise in [
      "ORTE_ERROR_LOG", "plm:rsh: Warning: setpgid", "sent help message",
      "Set MCA parameter \"orte_base_help_aggregate\"",
      "Set MCA parameter \"prte_base_help_aggregate\"",
    ] where line.contains(noise) {
      return false
    }
    guard line.hasPrefix("[rank "), let end = line.firstIndex(of: "]"),
      let rank = Int(line[line.index(line.startIndex, offsetBy: 6)..<end])
    else { return true }
    let text = line[line.index(after: end)...]
    if text.hasPrefix(" error: ") {
      if firstFailedRank == nil { (firstFailedRank, firstError) = (rank, String(text)) }
      if text == firstError { ranksOfFirstError.insert(rank) }
      silencedRank = seenErrors.insert(String(text)).inserted ? nil : rank
    } else if !text.hasPrefix("   ") && silencedRank == rank {
      // Lines that continue an error are indented.
      silencedRank = nil
    }
    return silencedRank != rank
  }
}
