/// A sentencepiece model with the special and added tokens of its directory, as transformers'
/// `LlamaTokenizer` uses them where there is no `tokenizer.json`.
///
/// A text is cut at these tokens, of which the leftmost and there the longest counts, and what lies
/// between them is encoded part by part. Where tokenizer_config.json says `"legacy": false`, only
/// the beginning of the text gets a space; otherwise, as always before, every part does.
package struct LlamaTokenizer: Tokenizer {
  package let vocabularySize: Int
  /// One more than the largest id that the files give a token.
  let listedSize: Int
  package let bosID: Int32?
  package let eosID: Int32?

  private let pieces: SentencePieceTokenizer
  private let tokens: [AddedToken]
  private let matcher: LongestMatcher
  private let isLegacy: Bool
  private let addsPrefixSpace: Bool
  /// Added tokens by their ids, which hide pieces of the same id.
  private let addedTokens: [Int32: AddedToken]
  /// Tokens that are set off by spaces in decoded text.
  private let separateIDs: Set<Int32>
  /// The visible space, which transformers puts before a text, as a piece.
  private let spaceID: Int32?

  private static let space: [UInt8] = [0xE2, 0x96, 0x81]

  /// - Parameters:
  ///   - pieces: the model.
  ///   - tokens: those that are recognised in text; `isSpecial` where decoding leaves one out.
  ///   - separateIDs: those of them that are set off by spaces in decoded text.
  ///   - listedSize: one more than the largest id that the files give a token.
  ///   - isLegacy: whether every part of a text between tokens begins like a text of its own.
  ///   - addsPrefixSpace: whether a text begins with a space; always where `isLegacy` and the model
  ///     says so.
  ///   - bosID: begins sequences.
  ///   - eosID: ends answers.
  init(
    _ pieces: SentencePieceTokenizer, tokens: [AddedToken], separateIDs: Set<Int32>,
    listedSize: Int, isLegacy: Bool, addsPrefixSpace: Bool, bosID: Int32?, eosID: Int32?
  ) {
    self.pieces = isLegacy ? pieces : pieces.withoutPrefix
    self.tokens = tokens
    self.separateIDs = separateIDs
    self.listedSize = listedSize
    matcher = LongestMatcher(
      tokens.enumerated().map { (bytes: Array($0.element.content.utf8), value: Int32($0.offset)) })
    self.isLegacy = isLegacy
    self.addsPrefixSpace = addsPrefixSpace
    self.bosID = bosID
    self.eosID = eosID
    addedTokens = Dictionary(tokens.map { ($0.id, $0) }) { $1 }
    vocabularySize = max(pieces.vocabularySize, Int(tokens.map(\.id).max() ?? -1) + 1)
    spaceID = pieces.id(of: "\u{2581}")
  }

  /// A part of a text: a token, or what is between tokens.
  private struct Part {
    var token: AddedToken?
    var text: [UInt8]

    /// Takes white space off one end.
    mutating func strip(left: Bool) {
      let rest = JinjaText(text).stripped(left: left, right: !left).bytes
      if rest.count < text.count { token = nil }
      text = rest
    }
  }

  /// See ``Tokenizer/encode(_:isContinuation:)``.
  package func encode(_ text: String, isContinuation: Bool) -> [Int32] {
    var bytes = Array(text.utf8)
    guard !bytes.isEmpty else { return [] }
    if !isLegacy {
      bytes = bytes.replacing(Self.space, with: [UInt8(ascii: " ")])
      if addsPrefixSpace, !isContinuation { bytes = Self.space + bytes }
    }
    var ids: [Int32] = []
    ids.reserveCapacity(bytes.count / 3 + 4)
    var isFirst = true
    var prefixIsAlone = false
    for part in parts(bytes) where !part.text.isEmpty {
      if let token = part.token {
        if prefixIsAlone, token.isSpecial { ids.removeAll(keepingCapacity: true) }
        ids.append(token.id)
        prefixIsAlone = false
      } else {
        let encoded = encode(part.text, isContinuation: isContinuation && isFirst)
        prefixIsAlone =
          isFirst && !isLegacy && !isContinuation
          && (encoded == [spaceID ?? -1] || (encoded.count == 1 && part.text == Self.space))
        ids += encoded
      }
      isFirst = false
    }
    return ids
  }

  private func encode(_ text: [UInt8], isContinuation: Bool) -> [Int32] {
    if isLegacy { return pieces.encode(text, isContinuation: isContinuation) }
    // A space at the beginning is kept whatever the model does with extra ones.
    let keepsSpace = text[0] == UInt8(ascii: " ") || text.starts(with: Self.space)
    return pieces.encode(text, isContinuation: isContinuation || keepsSpace)
  }

  private func parts(_ bytes: [UInt8]) -> [Part] {
    let matches = matcher.matches(in: bytes)
    guard !matches.isEmpty else { return [Part(text: bytes)] }
    var parts: [Part] = []
    var position = 0
    for match in matches where match.start >= position {
      if position < match.start { parts.append(Part(text: Array(bytes[position..<match.start]))) }
      parts.append(
        Part(token: tokens[Int(match.value)], text: Array(bytes[match.start..<match.end])))
      position = match.end
    }
    if position < bytes.count { parts.append(Part(text: Array(bytes[position...]))) }
    for index in parts.indices {
      guard let token = parts[index].token, !parts[index].text.isEmpty else { continue }
      if token.stripsRight, index + 1 < parts.count { parts[index + 1].strip(left: true) }
      if token.stripsLeft, index > 0 { parts[index - 1].strip(left: false) }
      guard token.isSingleWord else { continue }
      // Inside a word it is text, and what it stands beside becomes text with it.
      let isSpace = { (byte: UInt8?) in byte == nil || byte == UInt8(ascii: " ") }
      if index > 0, !isSpace(parts[index - 1].text.last) {
        parts[index - 1].text += parts[index].text
        parts[index - 1].token = nil
        parts[index].text = []
      } else if index + 1 < parts.count, !isSpace(parts[index + 1].text.first) {
        parts[index + 1].text = parts[index].text + parts[index + 1].text
        parts[index + 1].token = nil
        parts[index].text = []
      }
    }
    return parts
  }
}

extension LlamaTokenizer {
  /// See ``Tokenizer/decode(_:keepsSpecialTokens:)``.
  package func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String {
    var sections: [[UInt8]] = []
    var run: [Int32] = []
    func flush(isLast: Bool) {
      guard !run.isEmpty else { return }
      let text = decodedRun(run)
      if !text.isEmpty || isLast { sections.append(text) }
      run = []
    }
    for id in ids {
      guard let token = addedTokens[id] else {
        if pieces.pieces.indices.contains(Int(id)) { run.append(id) }
        continue
      }
      if token.isSpecial, !keepsSpecialTokens { continue }
      if separateIDs.contains(id) {
        flush(isLast: false)
        sections.append(Array(token.content.utf8))
      } else {
        run.append(id)
      }
    }
    flush(isLast: true)
    return String(
      decoding: Array(sections.joined(separator: [UInt8(ascii: " ")])), as: UTF8.self)
  }

  /// Pieces and special tokens as text.
  private func decodedRun(_ ids: [Int32]) -> [UInt8] {
    var bytes: [UInt8] = []
    var start = 0
    var followsSpecial = false
    // The space that was put before the text is taken off the first piece.
    var first: String?
    if addsPrefixSpace, addedTokens[ids[0]] == nil {
      let text = pieces.pieces[Int(ids[0])].text
      if text.unicodeScalars.first == "\u{2581}" {
        first = String(String.UnicodeScalarView(text.unicodeScalars.dropFirst()))
      }
    }
    func flush(_ end: Int) {
      bytes += pieces.decoded(ids[start..<end], first: start == 0 ? first : nil)
    }
    for (index, id) in ids.enumerated() {
      if let token = addedTokens[id] {
        if !followsSpecial, index > 0, isLegacy { bytes.append(UInt8(ascii: " ")) }
        flush(index)
        bytes += Array(token.content.utf8)
        start = index + 1
        followsSpecial = true
      } else {
        if followsSpecial, index == 1, addsPrefixSpace,
          pieces.pieces[Int(id)].text.unicodeScalars.first != "\u{2581}"
        {
          bytes.append(UInt8(ascii: " "))
        }
        followsSpecial = false
      }
    }
    flush(ids.count)
    return bytes
  }

  /// See ``Tokenizer/continuationBytes(of:)``.
  package func continuationBytes(of id: Int32) -> [UInt8] {
    guard let token = addedTokens[id] else { return pieces.continuationBytes(of: id) }
    return token.isSpecial ? [] : Array(token.content.utf8)
  }
}
