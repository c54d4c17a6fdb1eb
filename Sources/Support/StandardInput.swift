internal import Glibc

/// The lines of standard input, as they come.
package struct StandardInput {
  private var rest: [UInt8] = []
  private var hasEnded = false

  private static let blockByteCount = 1 << 20
  private static let lineByteLimit = 1 << 28

  package init() {}

  /// The whole lines that are there, after waiting for at least one; nil at the end.
  ///
  /// - Returns: lines without `\n` or `\r\n`.
  /// - Throws: ``UserError`` when reading fails or a line is too long.
  package mutating func lines() throws(UserError) -> [[UInt8]]? {
    while !hasEnded {
      var block = [UInt8](repeating: 0, count: Self.blockByteCount)
      let count = unsafe block.withUnsafeMutableBytes {
        unsafe read(STDIN_FILENO, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        throw UserError(.system, at: "standard input", "cannot read: \(systemErrorText())")
      }
      if count == 0 {
        hasEnded = true
        break
      }
      let start = rest.count
      rest += block[..<count]
      guard rest[start...].contains(UInt8(ascii: "\n")) else {
        guard rest.count <= Self.lineByteLimit else {
          throw UserError(
            .badInput, at: "standard input", "a line of more than \(Self.lineByteLimit) bytes",
            fix: "write one JSON value a line")
        }
        continue
      }
      var lines = split()
      rest = lines.popLast() ?? []
      return lines.map(Self.trimmed)
    }
    guard !rest.isEmpty else { return nil }
    defer { rest = [] }
    return [Self.trimmed(rest)]
  }

  private func split() -> [[UInt8]] {
    rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { Array($0) }
  }

  private static func trimmed(_ line: [UInt8]) -> [UInt8] {
    line.last == UInt8(ascii: "\r") ? line.dropLast() : line
  }
}
