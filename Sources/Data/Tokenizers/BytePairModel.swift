internal import Support

/// The model of a byte-pair tokenizer: the ids of one word.
struct BytePairModel: Sendable {
  private let merger: BytePairMerger
  /// Ids of single bytes where words are read byte by byte; empty where character by character.
  private let byteIDs: [Int32]
  private let asciiIDs: [Int32]
  private let characterIDs: [UInt32: Int32]
  /// The byte tokens that stand for characters without a token, by byte.
  private let fallbackIDs: [Int32?]
  private let unknownID: Int32?
  private let fusesUnknown: Bool
  /// Whole words, where these are looked up before anything is merged.
  private let words: WordTable?
  /// What is written around characters inside and at the end of a word; nil for nothing.
  private let affixes: (prefix: [UInt8], suffix: [UInt8], symbols: WordTable)?
  /// Whether no token reaches from another character over a visible space, so that a text may be
  /// cut before visible spaces without changing a token.
  let splitsAtVisibleSpaces: Bool

  static let visibleSpace: [UInt8] = [0xE2, 0x96, 0x81]
  private static let visibleSpaceScalar: UInt32 = 0x2581

  /// Whether words of this definition can be read byte by byte: the last step of the pre-tokenizer
  /// spells bytes, and each of them has a token.
  static func canReadBytes(_ definition: TokenizerDefinition) -> Bool {
    guard case .byteLevel = definition.preTokenizer.last, definition.subwordPrefix.isEmpty,
      definition.wordSuffix.isEmpty
    else { return false }
    return ByteAlphabet.characters.allSatisfy {
      definition.vocabulary[ExactString(String($0))] != nil
    }
  }

  /// Prepares a checked definition.
  init(_ definition: TokenizerDefinition, readsBytes: Bool) {
    let vocabulary = definition.vocabulary
    var merger = BytePairMerger()
    merger.reserve(definition.merges.count)
    for (rank, merge) in definition.merges.enumerated() {
      merger.add(
        left: merge.left, right: merge.right,
        BytePairMerger.Merge(
          priority: Float(definition.ranksAreIDs ? Int(merge.id) : rank), id: merge.id))
    }
    self.merger = merger
    byteIDs =
      readsBytes
      ? ByteAlphabet.characters.map { vocabulary[ExactString(String($0))] ?? 0 } : []
    var characterIDs: [UInt32: Int32] = [:]
    if !readsBytes {
      for (token, id) in vocabulary {
        let scalars = token.text.unicodeScalars
        if let scalar = scalars.first, scalars.dropFirst().isEmpty {
          characterIDs[scalar.value] = id
        }
      }
    }
    self.characterIDs = characterIDs
    asciiIDs = (0..<128).map { characterIDs[$0] ?? -1 }
    fallbackIDs = (0...255).map {
      definition.hasByteFallback ? vocabulary[ExactString(ByteToken.name($0))] : nil
    }
    unknownID = definition.unknownID
    fusesUnknown = definition.fusesUnknown
    words =
      definition.ignoresMerges
      ? WordTable(
        vocabulary.compactMap { token, id in
          let text = readsBytes ? ByteAlphabet.decoded(token.text) : Array(token.text.utf8)
          return text.map { ($0, id) }
        }) : nil
    let (prefix, suffix) = (definition.subwordPrefix, definition.wordSuffix)
    affixes =
      prefix.isEmpty && suffix.isEmpty
      ? nil
      : (
        Array(prefix.utf8), Array(suffix.utf8),
        WordTable(vocabulary.map { (Array($0.key.text.utf8), $0.value) })
      )
    splitsAtVisibleSpaces =
      !readsBytes && !definition.ignoresMerges && affixes == nil
      && characterIDs[Self.visibleSpaceScalar] != nil && Self.neverJoinsSpaces(definition)
  }

  private static func neverJoinsSpaces(_ definition: TokenizerDefinition) -> Bool {
    var beginsWithSpace = Set<Int32>()
    var endsWithSpace = Set<Int32>()
    for (token, id) in definition.vocabulary {
      let bytes = token.text.utf8
      if bytes.starts(with: visibleSpace) { beginsWithSpace.insert(id) }
      if bytes.suffix(3).elementsEqual(visibleSpace) { endsWithSpace.insert(id) }
    }
    return definition.merges.allSatisfy {
      !beginsWithSpace.contains($0.right) || endsWithSpace.contains($0.left)
    }
  }
}

extension BytePairModel {
  /// Appends the ids of a piece of text.
  ///
  /// - Parameters:
  ///   - bytes: valid UTF-8.
  ///   - range: the piece, not empty.
  ///   - ids: takes the ids.
  ///   - scratch: the thread's workspace.
  /// - Throws: `UserError` for a character without a token where there is no unknown token.
  func append(
    _ bytes: [UInt8], _ range: Range<Int>, to ids: inout [Int32], _ scratch: inout EncodingScratch
  ) throws(UserError) {
    guard splitsAtVisibleSpaces else { return try appendWord(bytes, range, to: &ids, &scratch) }
    var start = range.lowerBound
    var position = start
    var followsSpace = true
    while position < range.upperBound {
      let isSpace =
        bytes[position] == Self.visibleSpace[0] && position + 2 < range.upperBound
        && bytes[position + 1] == Self.visibleSpace[1]
        && bytes[position + 2] == Self.visibleSpace[2]
      if isSpace, !followsSpace {
        try appendWord(bytes, start..<position, to: &ids, &scratch)
        start = position
      }
      followsSpace = isSpace
      position += isSpace ? 3 : 1
    }
    try appendWord(bytes, start..<range.upperBound, to: &ids, &scratch)
  }

  @inline(__always)
  private func appendWord(
    _ bytes: [UInt8], _ range: Range<Int>, to ids: inout [Int32], _ scratch: inout EncodingScratch
  ) throws(UserError) {
    guard range.count <= WordCache.wordLimit else {
      return try appendUncached(bytes, range, to: &ids, &scratch.merging)
    }
    guard let hash = scratch.cache.append(bytes, range, to: &ids) else { return }
    let start = ids.count
    try appendUncached(bytes, range, to: &ids, &scratch.merging)
    scratch.cache.keep(bytes, range, hash, ids[start...])
  }

  @inline(never)
  private func appendUncached(
    _ bytes: [UInt8], _ range: Range<Int>, to ids: inout [Int32],
    _ workspace: inout BytePairMerger.Workspace
  ) throws(UserError) {
    if let words, let id = words.id(bytes, range) {
      ids.append(id)
      return
    }
    let start = ids.count
    if byteIDs.isEmpty {
      try appendCharacters(bytes, range, to: &ids)
    } else {
      for position in range { ids.append(byteIDs[Int(bytes[position])]) }
    }
    merger.merge(&ids, from: start, &workspace)
  }

  private func appendCharacters(_ bytes: [UInt8], _ range: Range<Int>, to ids: inout [Int32])
    throws(UserError)
  {
    var holdsUnknown = false
    var position = range.lowerBound
    while position < range.upperBound {
      let (scalar, count) = UTF8Scanner.decode(bytes, position)
      let next = position + count
      if let id = id(
        of: scalar, bytes, position..<next, isFirst: position == range.lowerBound,
        isLast: next == range.upperBound)
      {
        if holdsUnknown, let unknownID { ids.append(unknownID) }
        holdsUnknown = false
        ids.append(id)
      } else if let fallback = fallback(bytes, position..<next) {
        // As in the library, an unknown character before stays back until a known one comes.
        ids += fallback
      } else {
        guard let unknownID else { throw Self.noToken(bytes[position..<next]) }
        if holdsUnknown, !fusesUnknown { ids.append(unknownID) }
        holdsUnknown = true
      }
      position = next
    }
    if holdsUnknown, let unknownID { ids.append(unknownID) }
  }

  @inline(__always)
  private func id(
    of scalar: UInt32, _ bytes: [UInt8], _ range: Range<Int>, isFirst: Bool, isLast: Bool
  ) -> Int32? {
    guard let affixes else {
      if scalar < 128 { return asciiIDs[Int(scalar)] >= 0 ? asciiIDs[Int(scalar)] : nil }
      return characterIDs[scalar]
    }
    let symbol =
      (isFirst ? [] : affixes.prefix) + Array(bytes[range]) + (isLast ? affixes.suffix : [])
    return affixes.symbols.id(symbol, 0..<symbol.count)
  }

  private func fallback(_ bytes: [UInt8], _ range: Range<Int>) -> [Int32]? {
    var ids: [Int32] = []
    for position in range {
      guard let id = fallbackIDs[Int(bytes[position])] else { return nil }
      ids.append(id)
    }
    return ids
  }

  private static func noToken(_ character: ArraySlice<UInt8>) -> UserError {
    UserError(
      .badInput,
      "the character \"\(String(decoding: character, as: UTF8.self))\" has no token, and the "
        + "tokenizer has no unknown token",
      fix: "remove the character from the data")
  }
}
