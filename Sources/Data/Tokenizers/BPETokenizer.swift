internal import Support

/// Encodes and decodes with the `tokenizer.json` of a Llama or Mistral model exactly as Hugging
/// Face's tokenizers library does: BPE over characters, bytes for characters without a token.
package struct BPETokenizer: Tokenizer {
  package let vocabularySize: Int
  package let bosID: Int32?
  package let eosID: Int32?

  private let definition: TokenizerDefinition
  private let rawSplitter: AddedTokenSplitter
  private let normalizedSplitter: AddedTokenSplitter
  private let merger: BytePairMerger
  private let characterIDs: [UInt32: Int32]
  /// The byte tokens that exist, by byte.
  private let byteIDs: [Int32?]
  /// The text of each id; nil where the vocabulary has a hole.
  private let texts: [[UInt8]?]
  private let specialIDs: Set<Int32>

  /// Prepares a checked definition.
  init(_ definition: TokenizerDefinition, bosID: Int32?, eosID: Int32?) {
    self.definition = definition
    self.bosID = bosID
    self.eosID = eosID
    /// The library normalizes such a token like a text of its own, prefix included.
    func text(_ token: AddedToken) -> [UInt8] {
      let content = Array(token.content.utf8)
      guard token.isNormalized else { return content }
      return Self.normalize(content, definition.normalizer, skipsPrefix: false)
    }
    func splitter(normalized: Bool) -> AddedTokenSplitter {
      AddedTokenSplitter(
        definition.addedTokens.filter { $0.isNormalized == normalized }.map { ($0, text($0)) })
    }
    rawSplitter = splitter(normalized: false)
    normalizedSplitter = splitter(normalized: true)

    var merger = BytePairMerger()
    merger.reserve(definition.merges.count)
    for (rank, merge) in definition.merges.enumerated() {
      merger.add(
        left: merge.left, right: merge.right,
        BytePairMerger.Merge(priority: Float(rank), id: merge.id))
    }
    self.merger = merger

    var characterIDs: [UInt32: Int32] = [:]
    var texts = [[UInt8]?](repeating: nil, count: definition.vocabularySize)
    for (token, id) in definition.vocabulary {
      let scalars = token.text.unicodeScalars
      if let scalar = scalars.first, scalars.dropFirst().isEmpty { characterIDs[scalar.value] = id }
      texts[Int(id)] = Array(token.text.utf8)
    }
    for token in definition.addedTokens { texts[Int(token.id)] = text(token) }
    self.characterIDs = characterIDs
    self.texts = texts
    vocabularySize = definition.vocabularySize
    byteIDs = (0...255).map {
      definition.hasByteFallback ? definition.vocabulary[ExactString(ByteToken.name($0))] : nil
    }
    specialIDs = Set(definition.addedTokens.lazy.filter(\.isSpecial).map(\.id))
  }

  private static func normalize(_ bytes: [UInt8], _ steps: [NormalizerStep], skipsPrefix: Bool)
    -> [UInt8]
  {
    var bytes = bytes
    for step in steps {
      switch step {
      case .prepend(let prefix):
        if !bytes.isEmpty && !skipsPrefix { bytes.insert(contentsOf: prefix, at: 0) }
      case .replace(let pattern, let content): bytes = bytes.replacing(pattern, with: content)
      }
    }
    return bytes
  }
}

extension BPETokenizer {
  /// See ``Tokenizer/encode(_:isContinuation:)``.
  package func encode(_ text: String, isContinuation: Bool) throws -> [Int32] {
    let bytes = Array(text.utf8)
    var ids: [Int32] = []
    for outer in rawSplitter.split(bytes) {
      if let token = outer.token {
        ids.append(token)
        continue
      }
      let isOuterStart = outer.range.lowerBound == 0
      let normalized = Self.normalize(
        Array(bytes[outer.range]), definition.normalizer,
        skipsPrefix: isOuterStart && isContinuation)
      for inner in normalizedSplitter.split(normalized) {
        if let token = inner.token {
          ids.append(token)
          continue
        }
        let section = Array(normalized[inner.range])
        let isStart = isOuterStart && inner.range.lowerBound == 0
        let words =
          definition.metaspace?
          .words(section, isStart: isStart, isContinuation: isContinuation) ?? [section]
        for word in words { try appendWord(word, to: &ids) }
      }
    }
    return ids
  }

  private func appendWord(_ word: [UInt8], to ids: inout [Int32]) throws {
    if definition.ignoresMerges {
      let key = ExactString(String(decoding: word, as: UTF8.self))
      if let id = definition.vocabulary[key] {
        ids.append(id)
        return
      }
    }
    var symbols: [BytePairMerger.Symbol] = []
    symbols.reserveCapacity(word.count)
    var holdsUnknown = false
    func flushUnknown() {
      if holdsUnknown, let id = definition.unknownID {
        symbols.append(BytePairMerger.Symbol(id: id))
      }
      holdsUnknown = false
    }
    var position = 0
    while position < word.count {
      let end = min(position + UTF8Scanner.length(word[position]), word.count)
      let character = word[position..<end]
      position = end
      let scalar = String(decoding: character, as: UTF8.self).unicodeScalars.first
      if let id = scalar.flatMap({ characterIDs[$0.value] }) {
        flushUnknown()
        symbols.append(BytePairMerger.Symbol(id: id))
        continue
      }
      let byteTokens = character.compactMap { byteIDs[Int($0)] }
      if byteTokens.count == character.count {
        // As in the library, an unknown character before stays back until a known one comes.
        symbols += byteTokens.map { BytePairMerger.Symbol(id: $0) }
        continue
      }
      guard definition.unknownID != nil else {
        throw UserError(
          .badInput,
          "the character \"\(String(decoding: character, as: UTF8.self))\" has no token, and the "
            + "tokenizer has no unknown token",
          fix: "remove the character from the data")
      }
      if !definition.fusesUnknown { flushUnknown() }
      holdsUnknown = true
    }
    flushUnknown()
    ids += merger.merge(symbols).ids
  }

  /// See ``Tokenizer/decode(_:)``. Ids outside the vocabulary are left out.
  package func decode(_ ids: [Int32]) -> String {
    var tokens = ids.compactMap { id -> [UInt8]? in
      guard texts.indices.contains(Int(id)), !specialIDs.contains(id) else { return nil }
      return texts[Int(id)]
    }
    guard let steps = definition.decoder else {
      return String(decoding: Array(tokens.joined(separator: [UInt8(ascii: " ")])), as: UTF8.self)
    }
    for step in steps { tokens = step.apply(tokens) }
    return String(decoding: Array(tokens.joined()), as: UTF8.self)
  }

  /// See ``Tokenizer/continuationBytes(of:)``.
  package func continuationBytes(of id: Int32) -> [UInt8] {
    guard texts.indices.contains(Int(id)), !specialIDs.contains(id), var text = texts[Int(id)]
    else { return [] }
    guard let steps = definition.decoder else { return [UInt8(ascii: " ")] + text }
    for step in steps {
      switch step {
      case .replace(let pattern, let content): text = text.replacing(pattern, with: content)
      case .byteFallback: if let byte = ByteToken.byte(text) { return [byte] }
      case .metaspace(let replacement, _):
        text = text.replacing(replacement, with: [UInt8(ascii: " ")])
      case .strip(let content, let start, let stop):
        text = DecoderStep.strip(text, content, start, stop)
      // What follows applies to the ends of the whole sequence, which this token is inside of.
      case .fuse: return text
      }
    }
    return text
  }
}
