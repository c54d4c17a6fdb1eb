/// What a step of a tokenizer looks for: a text, or a regular expression.
enum TextPattern: Sendable {
  case text([UInt8])
  case expression(Pattern)

  /// The bytes with every match replaced, left to right.
  func replacing(in bytes: [UInt8], with content: [UInt8]) throws(PatternError) -> [UInt8] {
    switch self {
    case .text(let text): return bytes.replacing(text, with: content)
    case .expression(let pattern):
      var result: [UInt8] = []
      var position = 0
      try pattern.forEachMatch(in: bytes, 0..<bytes.count) { start, end in
        result += bytes[position..<start]
        result += content
        position = end
      }
      return result + bytes[position...]
    }
  }
}

extension [UInt8] {
  /// The bytes with every occurrence of `pattern`, which is not empty, replaced, left to right.
  func replacing(_ pattern: [UInt8], with content: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count + count / 4)
    var position = 0
    while position < count {
      if self[position] == pattern[0], self[position...].starts(with: pattern) {
        result += content
        position += pattern.count
      } else {
        result.append(self[position])
        position += 1
      }
    }
    return result
  }
}
