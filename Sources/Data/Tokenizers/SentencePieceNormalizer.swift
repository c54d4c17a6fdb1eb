/// What sentencepiece does to a text before it is cut into pieces: character map, spaces.
struct SentencePieceNormalizer: Sendable {
  var addsDummyPrefix: Bool
  var removesExtraWhitespaces: Bool
  var escapesWhitespaces: Bool
  var treatsWhitespaceAsSuffix: Bool
  var characterMap: CharacterMap?
  /// User-defined symbols, which the map does not touch.
  var symbols: LongestMatcher

  private static let escapedSpace: [UInt8] = [0xE2, 0x96, 0x81]
  private static let plainSpace = UInt8(ascii: " ")

  private var space: [UInt8] { escapesWhitespaces ? Self.escapedSpace : [Self.plainSpace] }

  /// Normalizes `bytes`, which are valid UTF-8.
  ///
  /// - Parameters:
  ///   - bytes: the text.
  ///   - isContinuation: leaves out the dummy prefix and keeps leading spaces (several become one
  ///     where extra white space is removed), because the text stands inside a longer one.
  /// - Returns: what is cut into pieces.
  func normalize(_ bytes: [UInt8], isContinuation: Bool) -> [UInt8] {
    var cursor = LongestMatcher.Cursor(symbols.matches(in: bytes))
    var position = 0
    if removesExtraWhitespaces && !isContinuation {
      while position < bytes.count {
        let (text, count) = prefix(bytes, position, &cursor)
        guard text.elementsEqual([Self.plainSpace]) else { break }
        position += count
      }
    }
    guard position < bytes.count else { return [] }

    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + bytes.count / 4 + 3)
    let hasPrefix = addsDummyPrefix && !isContinuation
    if hasPrefix && !treatsWhitespaceAsSuffix { result += space }
    var followsSpace = removesExtraWhitespaces && !isContinuation
    while position < bytes.count {
      var (text, count) = prefix(bytes, position, &cursor)
      if followsSpace { text = text.drop { $0 == Self.plainSpace } }
      for byte in text {
        if byte == Self.plainSpace { result += space } else { result.append(byte) }
      }
      if let last = text.last { followsSpace = last == Self.plainSpace }
      if !removesExtraWhitespaces { followsSpace = false }
      position += count
    }
    if removesExtraWhitespaces {
      let space = space
      while result.suffix(space.count).elementsEqual(space) { result.removeLast(space.count) }
    }
    if hasPrefix && treatsWhitespaceAsSuffix { result += space }
    return result
  }

  /// The normalized form of the next unit of text, and how many bytes the unit has.
  private func prefix(
    _ bytes: [UInt8], _ position: Int, _ cursor: inout LongestMatcher.Cursor
  ) -> (ArraySlice<UInt8>, Int) {
    if let symbol = cursor.match(at: position) {
      return (bytes[position..<symbol.end], symbol.end - position)
    }
    if let match = characterMap?.longestMatch(in: bytes, at: position) { return match }
    // A key of a strange map may end inside a character.
    guard case .valid(let count) = UTF8Scanner.scalar(in: bytes, at: position) else {
      return (UTF8Scanner.replacement[...], 1)
    }
    return (bytes[position..<position + count], count)
  }
}
