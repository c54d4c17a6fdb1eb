/// One step from token texts back to the text (`decoder`).
enum DecoderStep: Sendable {
  case replace(pattern: [UInt8], content: [UInt8])
  /// Turns the characters that stand for bytes into these.
  case byteLevel
  /// Turns the suffix of words into a space, and at the end of the text into nothing.
  case wordSuffix([UInt8])
  /// Turns runs of byte tokens into characters.
  case byteFallback
  /// Joins all tokens into one.
  case fuse
  /// Takes up to so many of one character away at both ends of each token.
  case strip(content: [UInt8], start: Int, stop: Int)
  case metaspace(replacement: [UInt8], scheme: Metaspace.PrependScheme)

  /// Applies the step to the texts of a whole sequence.
  func apply(_ tokens: [[UInt8]]) -> [[UInt8]] {
    switch self {
    case .replace(let pattern, let content):
      return tokens.map { $0.replacing(pattern, with: content) }
    case .byteLevel: return [Array(tokens.lazy.map(ByteAlphabet.bytes).joined())]
    case .wordSuffix(let suffix):
      return tokens.enumerated().map { index, token in
        token.replacing(suffix, with: index == tokens.count - 1 ? [] : [UInt8(ascii: " ")])
      }
    case .byteFallback: return Self.joinBytes(tokens)
    case .fuse: return [Array(tokens.joined())]
    case .strip(let content, let start, let stop):
      return tokens.map { Self.strip($0, content, start, stop) }
    case .metaspace(let replacement, let scheme):
      return tokens.enumerated().map { index, token in
        let isRemoved = index == 0 && scheme != .never
        return token.replacing(replacement, with: isRemoved ? [] : [UInt8(ascii: " ")])
      }
    }
  }

  /// A run of byte tokens that is not UTF-8 becomes one U+FFFD for each byte.
  private static func joinBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
    var result: [[UInt8]] = []
    var run: [UInt8] = []
    func flush() {
      guard !run.isEmpty else { return }
      if String(validating: run, as: UTF8.self) != nil {
        result.append(run)
      } else {
        result += Array(repeating: UTF8Scanner.replacement, count: run.count)
      }
      run = []
    }
    for token in tokens {
      if let byte = ByteToken.byte(token) {
        run.append(byte)
      } else {
        flush()
        result.append(token)
      }
    }
    flush()
    return result
  }

  static func strip(_ token: [UInt8], _ content: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
    var token = token[...]
    for _ in 0..<start where token.starts(with: content) { token.removeFirst(content.count) }
    for _ in 0..<stop where token.suffix(content.count).elementsEqual(content) {
      token.removeLast(content.count)
    }
    return Array(token)
  }
}
