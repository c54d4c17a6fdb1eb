internal import Support

/// Encodes and decodes with a `tokenizer.json`, or files that come to the same, exactly as Hugging
/// Face's tokenizers library does: added tokens, normalizer, pre-tokenizer, byte-pair merges.
package struct BPETokenizer: Tokenizer {
  package let vocabularySize: Int
  package let bosID: Int32?
  package let eosID: Int32?
  package let repairsBytewise: Bool

  private let definition: TokenizerDefinition
  private let rawSplitter: AddedTokenSplitter
  private let normalizedSplitter: AddedTokenSplitter
  private let model: BytePairModel
  private let preTokenizer: [PreTokenizerStep]
  private let scratches = ScratchPool()
  /// The text of each id; nil where the vocabulary has a hole.
  private let texts: [[UInt8]?]
  private let specialIDs: Set<Int32>

  /// Prepares a checked definition.
  ///
  /// - Throws: `UserError` when an added token cannot be normalized.
  init(_ definition: TokenizerDefinition, bosID: Int32?, eosID: Int32?) throws(UserError) {
    self.definition = definition
    self.bosID = bosID
    self.eosID = eosID
    let readsBytes = BytePairModel.canReadBytes(definition)
    model = BytePairModel(definition, readsBytes: readsBytes)
    preTokenizer = readsBytes ? definition.preTokenizer.dropLast() : definition.preTokenizer

    var texts = [[UInt8]?](repeating: nil, count: definition.vocabularySize)
    for (token, id) in definition.vocabulary { texts[Int(id)] = Array(token.text.utf8) }
    var raw: [(AddedToken, [UInt8])] = []
    var normalized: [(AddedToken, [UInt8])] = []
    for token in definition.addedTokens {
      var content = Array(token.content.utf8)
      if token.isNormalized {
        // The library normalizes such a token like a text of its own, prefix included.
        content = try Self.normalize(content, definition.normalizer, skipsPrefix: false)
        normalized.append((token, content))
      } else {
        raw.append((token, content))
      }
      texts[Int(token.id)] = content
    }
    rawSplitter = AddedTokenSplitter(raw)
    normalizedSplitter = AddedTokenSplitter(normalized)
    self.texts = texts
    vocabularySize = definition.vocabularySize
    let specialTexts = Set(
      definition.addedTokens.lazy.filter(\.isSpecial).map { ExactString($0.content) })
    specialIDs = Set(
      definition.addedTokens.lazy.filter { specialTexts.contains(ExactString($0.content)) }
        .map(\.id))
    repairsBytewise = !(definition.decoder ?? []).contains {
      if case .byteLevel = $0 { true } else { false }
    }
  }

  private static func normalize(_ bytes: [UInt8], _ steps: [NormalizerStep], skipsPrefix: Bool)
    throws(UserError) -> [UInt8]
  {
    var bytes = bytes
    do throws(PatternError) {
      for step in steps { bytes = try step.apply(bytes, skipsPrefix: skipsPrefix) }
    } catch { throw tooComplex(error) }
    return bytes
  }

  private static func tooComplex(_ error: PatternError) -> UserError {
    UserError(
      .badInput, "a pattern of the tokenizer finds \(error.reason)",
      fix: "split the text into shorter rows")
  }
}

extension BPETokenizer {
  /// See ``Tokenizer/encode(_:isContinuation:)``.
  package func encode(_ text: String, isContinuation: Bool) throws -> [Int32] {
    let bytes = Array(text.utf8)
    var ids: [Int32] = []
    ids.reserveCapacity(bytes.count / 3 + 4)
    try scratches.with { scratch throws(UserError) in
      for outer in rawSplitter.split(bytes) {
        if let token = outer.token {
          ids.append(token)
          continue
        }
        let isStart = outer.range.lowerBound == 0
        let section = outer.range.count == bytes.count ? bytes : Array(bytes[outer.range])
        let normalized =
          definition.normalizer.isEmpty
          ? section
          : try Self.normalize(
            section, definition.normalizer, skipsPrefix: isStart && isContinuation)
        for inner in normalizedSplitter.split(normalized) {
          if let token = inner.token {
            ids.append(token)
            continue
          }
          let part =
            inner.range.count == normalized.count ? normalized : Array(normalized[inner.range])
          try appendSection(
            TextPieces(
              part, isStart: isStart && inner.range.lowerBound == 0,
              isContinuation: isContinuation), to: &ids, &scratch)
        }
      }
    }
    return ids
  }

  private func appendSection(
    _ text: TextPieces, to ids: inout [Int32], _ scratch: inout EncodingScratch
  ) throws(UserError) {
    var pieces = text
    do throws(PatternError) {
      for step in preTokenizer { try step.apply(&pieces) }
    } catch { throw Self.tooComplex(error) }
    for range in pieces.ranges { try model.append(pieces.bytes, range, to: &ids, &scratch) }
  }

  /// See ``Tokenizer/decode(_:keepsSpecialTokens:)``. Ids outside the vocabulary are left out.
  package func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String {
    var tokens = ids.compactMap { id -> [UInt8]? in
      guard texts.indices.contains(Int(id)), keepsSpecialTokens || !specialIDs.contains(id) else {
        return nil
      }
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
      case .byteLevel: return ByteAlphabet.bytes(text)
      case .wordSuffix(let suffix): text = text.replacing(suffix, with: [UInt8(ascii: " ")])
      // What follows applies to the ends of the whole sequence, which this token is inside of.
      case .fuse: return text
      }
    }
    return text
  }
}
