/// Decodes a continuation token by token and holds back the bytes of a character that is not
/// complete yet.
package struct StreamingDecoder: Sendable {
  private let tokenizer: any Tokenizer
  private var pending: [UInt8] = []

  package init(_ tokenizer: any Tokenizer) { self.tokenizer = tokenizer }

  /// The text that became complete with `id`; often a word, sometimes nothing.
  package mutating func append(_ id: Int32) -> String {
    pending += tokenizer.continuationBytes(of: id)
    return take(isLast: false)
  }

  /// What was held back, once no token follows: an unfinished character as U+FFFD.
  package mutating func finish() -> String { take(isLast: true) }

  private mutating func take(isLast: Bool) -> String {
    var bytes: [UInt8] = []
    var position = 0
    scan: while position < pending.count {
      switch UTF8Scanner.scalar(in: pending, at: position) {
      case .valid(let count):
        bytes += pending[position..<position + count]
        position += count
      case .incomplete where !isLast: break scan
      case .incomplete, .invalid:
        bytes += UTF8Scanner.replacement
        position +=
          tokenizer.repairsBytewise ? 1 : UTF8Scanner.brokenLength(in: pending, at: position)
      }
    }
    pending.removeFirst(position)
    return String(decoding: bytes, as: UTF8.self)
  }
}
