internal import Support

/// A sentencepiece character map (`precompiled_charsmap`, for example NFKC): replaces the longest
/// matching key at a position.
///
/// The format is a byte count, a Darts double array of 32-bit units, and the replacement texts,
/// each ended by a zero byte; a leaf holds where its text begins.
struct CharacterMap: Sendable {
  private let units: [UInt32]
  private let texts: [UInt8]

  /// Keys are short; the library stops collecting matches at this many.
  private static let matchLimit = 32

  /// Parses a map that is not empty.
  init(_ blob: [UInt8], path: String) throws(UserError) {
    func fail(_ reason: String) -> UserError {
      UserError(.badInput, at: path, "the character map of the normalizer is broken: \(reason)")
    }
    func unit(_ index: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(blob[4 * index + $1]) << UInt32(8 * $1) }
    }
    guard blob.count >= 4 else { throw fail("it has \(blob.count) bytes") }
    let trieByteCount = Int(unit(0))
    guard trieByteCount <= blob.count - 4, trieByteCount % 4 == 0, trieByteCount >= 4 else {
      throw fail("a trie of \(trieByteCount) bytes in \(blob.count - 4)")
    }
    units = (1...trieByteCount / 4).map(unit)
    texts = Array(blob[(4 + trieByteCount)...])
    guard texts.last == 0 else { throw fail("the last text has no end") }
  }

  /// The replacement of the longest key at `position`, and how many bytes the key has.
  func longestMatch(in bytes: [UInt8], at position: Int) -> (text: ArraySlice<UInt8>, count: Int)? {
    var best: (text: ArraySlice<UInt8>, count: Int)?
    var matchCount = 0
    var node = Self.offset(units[0])
    for index in position..<bytes.count {
      node ^= Int(bytes[index])
      guard node < units.count else { break }
      let unit = units[node]
      guard unit & (1 << 31 | 0xFF) == UInt32(bytes[index]) else { break }
      node ^= Self.offset(unit)
      guard unit >> 8 & 1 == 1 else { continue }
      guard node < units.count else { break }
      let start = Int(units[node] & 0x7FFF_FFFF)
      guard start < texts.count else { break }
      best = (texts[start...].prefix { $0 != 0 }, index + 1 - position)
      matchCount += 1
      if matchCount == Self.matchLimit { break }
    }
    return best
  }

  private static func offset(_ unit: UInt32) -> Int {
    Int((unit >> 10) << ((unit & (1 << 9)) >> 6))
  }
}
