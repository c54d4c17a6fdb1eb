/// A token of `added_tokens`, recognised in text before the model sees it.
struct AddedToken: Sendable {
  var id: Int32
  var content: String
  /// Left out of decoded text.
  var isSpecial: Bool
  /// Takes the white space before it along.
  var stripsLeft: Bool
  /// Takes the white space after it along.
  var stripsRight: Bool
  /// Searched in the normalized text, in its normalized form.
  var isNormalized: Bool
  /// Only between characters that belong to no word.
  var isSingleWord: Bool
}

/// Cuts text at added tokens: the leftmost first, of several there the longest.
struct AddedTokenSplitter: Sendable {
  /// A part of the text: an added token, or text between such.
  struct Section {
    var token: Int32?
    var range: Range<Int>
  }

  private let matcher: LongestMatcher
  private let tokens: [AddedToken]

  /// Prepares a search for tokens, each under its text as it stands in what is searched.
  init(_ tokens: [(token: AddedToken, pattern: [UInt8])]) {
    matcher = LongestMatcher(
      tokens.enumerated().map { (bytes: $0.element.pattern, value: Int32($0.offset)) })
    self.tokens = tokens.map(\.token)
  }

  /// The sections of `bytes`, none of them empty, in order.
  func split(_ bytes: [UInt8]) -> [Section] {
    guard !bytes.isEmpty else { return [] }
    guard !matcher.isEmpty else { return [Section(token: nil, range: 0..<bytes.count)] }
    var sections: [Section] = []
    var sectionStart = 0
    var position = 0
    for match in matcher.matches(in: bytes) where match.start >= position {
      let token = tokens[Int(match.value)]
      var (start, end) = (match.start, match.end)
      position = end
      if token.isSingleWord, isWord(before: start, bytes) || isWord(after: end, bytes) { continue }
      // What a token before this one has taken is not looked at again.
      if token.stripsLeft { start = spaceStart(before: start, bytes, limit: sectionStart) }
      start = max(start, sectionStart)
      if token.stripsRight { end = spaceEnd(after: max(end, sectionStart), bytes) }
      if sectionStart < start { sections.append(Section(token: nil, range: sectionStart..<start)) }
      sections.append(Section(token: token.id, range: start..<max(start, end)))
      sectionStart = max(start, end)
    }
    if sectionStart < bytes.count {
      sections.append(Section(token: nil, range: sectionStart..<bytes.count))
    }
    return sections
  }

  private func scalar(before position: Int, _ bytes: [UInt8]) -> (Unicode.Scalar, start: Int)? {
    guard position > 0 else { return nil }
    var start = position - 1
    while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return String(decoding: bytes[start..<position], as: UTF8.self).unicodeScalars.first
      .map { ($0, start) }
  }

  private func scalar(after position: Int, _ bytes: [UInt8]) -> (Unicode.Scalar, end: Int)? {
    guard position < bytes.count else { return nil }
    let end = min(position + UTF8Scanner.length(bytes[position]), bytes.count)
    return String(decoding: bytes[position..<end], as: UTF8.self).unicodeScalars.first
      .map { ($0, end) }
  }

  private func spaceStart(before position: Int, _ bytes: [UInt8], limit: Int) -> Int {
    var start = position
    while start > limit, let (scalar, next) = scalar(before: start, bytes),
      scalar.properties.isWhitespace
    {
      start = next
    }
    return start
  }

  private func spaceEnd(after position: Int, _ bytes: [UInt8]) -> Int {
    var end = position
    while let (scalar, next) = scalar(after: end, bytes), scalar.properties.isWhitespace {
      end = next
    }
    return end
  }

  private func isWord(before position: Int, _ bytes: [UInt8]) -> Bool {
    scalar(before: position, bytes).map { Self.isWord($0.0) } ?? false
  }

  private func isWord(after position: Int, _ bytes: [UInt8]) -> Bool {
    scalar(after: position, bytes).map { Self.isWord($0.0) } ?? false
  }

  /// Whether a regular expression's `\w` matches.
  private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation:
      return true
    default: return false
    }
  }
}
