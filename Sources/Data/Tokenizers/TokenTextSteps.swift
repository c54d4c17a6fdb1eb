/// One change of the text before it is cut into tokens (`normalizer`).
enum NormalizerStep: Sendable {
  /// Puts a text in front of every section that is not empty.
  case prepend([UInt8])
  case replace(pattern: [UInt8], content: [UInt8])
}

/// Replaces spaces by a visible character and puts one in front (`pre_tokenizer` Metaspace).
struct Metaspace: Sendable {
  enum PrependScheme: Sendable {
    /// Only in front of the section that begins the text.
    case first
    /// In front of every section between added tokens.
    case always
    case never
  }

  var replacement: [UInt8]
  var scheme: PrependScheme
  /// Whether each replacement character begins a word of its own.
  var splits: Bool

  /// The words of one section.
  ///
  /// - Parameters:
  ///   - section: the text of the section.
  ///   - isStart: the section begins the text.
  ///   - isContinuation: the text continues another.
  /// - Returns: one word, or several where the replacement character begins a new one.
  func words(_ section: [UInt8], isStart: Bool, isContinuation: Bool) -> [[UInt8]] {
    var text = section.replacing([UInt8(ascii: " ")], with: replacement)
    let wantsPrefix =
      switch scheme {
      case .first: isStart && !isContinuation
      case .always: !(isStart && isContinuation)
      case .never: false
      }
    if wantsPrefix, !text.starts(with: replacement) { text.insert(contentsOf: replacement, at: 0) }
    guard splits else { return [text] }
    var words: [[UInt8]] = []
    var start = 0
    var position = 1
    while position < text.count {
      if text[position...].starts(with: replacement) {
        words.append(Array(text[start..<position]))
        start = position
      }
      position += 1
    }
    words.append(Array(text[start...]))
    return words
  }
}

/// One step from token texts back to the text (`decoder`).
enum DecoderStep: Sendable {
  case replace(pattern: [UInt8], content: [UInt8])
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
