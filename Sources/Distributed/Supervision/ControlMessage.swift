/// What ranks and their supervisor say to each other: one line of plain ASCII each.
package enum ControlMessage: Sendable, Equatable {
  // From a rank.
  /// `job` is Open MPI's number of the job; 0 where there is none.
  case hello(token: String, rank: Int, process: Int32, host: String, job: UInt32)
  case report(RankReport)
  case output(String)
  case saved(step: Int)
  case failed(code: Int32, step: Int, text: String)
  case done(code: Int32)

  // From the supervisor.
  /// A rank that hears nothing for so long ends itself.
  case welcome(leaseSeconds: Int)
  /// Sent all the time.
  case alive
  /// Save at the next boundary of a step and end.
  case stop
  /// End at once.
  case end

  /// Both sides must speak the same version.
  static let version = 2
  /// A longer line is no message.
  static let maximumByteCount = 4096
  /// The most of a text that is sent, before encoding.
  private static let maximumTextByteCount = 1000

  /// The line, with its newline.
  package var bytes: [UInt8] {
    let words: [String] =
      switch self {
      case .hello(let token, let rank, let process, let host, let job):
        [
          "hello", "\(Self.version)", token, "\(rank)", "\(process)", Self.encode(host), "\(job)",
        ]
      case .report(let report):
        [
          "at", report.phase.rawValue, "\(report.step)", "\(report.entries)",
          "\(report.collectives)", "\(report.moves)", "\(report.movesAtEntry)",
          Self.encode(report.operation),
        ]
      case .output(let path): ["output", Self.encode(path)]
      case .saved(let step): ["saved", "\(step)"]
      case .failed(let code, let step, let text):
        ["failed", "\(code)", "\(step)", Self.encode(text)]
      case .done(let code): ["done", "\(code)"]
      case .welcome(let seconds): ["welcome", "\(seconds)"]
      case .alive: ["alive"]
      case .stop: ["stop"]
      case .end: ["end"]
      }
    return Array((words.joined(separator: " ") + "\n").utf8)
  }

  /// Reads a line without its newline; nil for anything that is no message.
  package init?(line: some Collection<UInt8>) {
    guard line.count < Self.maximumByteCount, line.allSatisfy({ (0x20...0x7E).contains($0) })
    else { return nil }
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    func number<Number: FixedWidthInteger>(_ index: Int, _ range: ClosedRange<Number>) -> Number? {
      Number(words[index]).flatMap { range.contains($0) ? $0 : nil }
    }
    switch (words[0], words.count) {
    case ("hello", 7):
      guard words[1] == "\(Self.version)", let rank: Int = number(3, 0...1 << 20),
        let process: Int32 = number(4, 1...Int32.max), let host = Self.decode(words[5]),
        let job: UInt32 = number(6, 0...UInt32.max)
      else { return nil }
      self = .hello(token: words[2], rank: rank, process: process, host: host, job: job)
    case ("at", 8):
      var report = RankReport()
      guard let phase = JobPhase(rawValue: words[1]), let step: Int = number(2, 0...Int.max),
        let entries: Int = number(3, 0...Int.max), let collectives: Int = number(4, 0...Int.max),
        let moves: Int = number(5, 0...Int.max), let movesAtEntry: Int = number(6, 0...moves),
        let operation = Self.decode(words[7])
      else { return nil }
      (report.phase, report.step, report.operation) = (phase, step, operation)
      (report.entries, report.collectives) = (entries, collectives)
      (report.moves, report.movesAtEntry) = (moves, movesAtEntry)
      self = .report(report)
    case ("output", 2):
      guard let path = Self.decode(words[1]), !path.isEmpty else { return nil }
      self = .output(path)
    case ("saved", 2):
      guard let step: Int = number(1, 0...Int.max) else { return nil }
      self = .saved(step: step)
    case ("failed", 4):
      guard let code: Int32 = number(1, 0...255), let step: Int = number(2, 0...Int.max),
        let text = Self.decode(words[3])
      else { return nil }
      self = .failed(code: code, step: step, text: text)
    case ("done", 2):
      guard let code: Int32 = number(1, 0...255) else { return nil }
      self = .done(code: code)
    case ("welcome", 2):
      guard let seconds: Int = number(1, 1...1_000_000) else { return nil }
      self = .welcome(leaseSeconds: seconds)
    case ("alive", 1): self = .alive
    case ("stop", 1): self = .stop
    case ("end", 1): self = .end
    default: return nil
    }
  }

  // MARK: Text inside a line

  private static let hexadecimal = Array("0123456789abcdef".utf8)

  /// Spaces, control characters and what is no ASCII as `%20`, cut to a bounded length.
  private static func encode(_ text: String) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8.prefix(maximumTextByteCount) {
      if (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "%") {
        bytes.append(byte)
      } else {
        bytes += [
          UInt8(ascii: "%"), hexadecimal[Int(byte >> 4)], hexadecimal[Int(byte & 15)],
        ]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func decode(_ text: String) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap({ hexadecimal.firstIndex(of: $0) }),
        let low = rest.popFirst().flatMap({ hexadecimal.firstIndex(of: $0) })
      else { return nil }
      bytes.append(UInt8(high << 4 | low))
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Cuts what arrives on a connection into messages.
package struct ControlReader: Sendable {
  private var held: [UInt8] = []

  package init() {}

  /// Takes bytes and returns the messages that are whole.
  ///
  /// - Parameter bytes: as they arrived.
  /// - Returns: nil when something is no message, or is too long to be one.
  package mutating func feed(_ bytes: some Sequence<UInt8>) -> [ControlMessage]? {
    held += bytes
    var messages: [ControlMessage] = []
    while let end = held.firstIndex(of: UInt8(ascii: "\n")) {
      guard let message = ControlMessage(line: held[..<end]) else { return nil }
      messages.append(message)
      held.removeSubrange(...end)
    }
    return held.count < ControlMessage.maximumByteCount ? messages : nil
  }
}
