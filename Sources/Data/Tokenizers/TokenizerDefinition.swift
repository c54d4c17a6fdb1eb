internal import Support

/// A `tokenizer.json` of the supported family, read and checked.
struct TokenizerDefinition: Sendable {
  var vocabulary: [ExactString: Int32] = [:]
  /// In order of rank (see ``ranksAreIDs``): the ids of a pair and of what it becomes.
  var merges: [(left: Int32, right: Int32, id: Int32)] = []
  /// The id of what a merge makes is its rank, too: several pairs may make the same token.
  var ranksAreIDs = false
  var addedTokens: [AddedToken] = []
  var unknownID: Int32?
  var hasByteFallback = false
  var fusesUnknown = false
  var ignoresMerges = false
  var normalizer: [NormalizerStep] = []
  var preTokenizer: [PreTokenizerStep] = []
  /// Put in front of every character of a word but the first; empty for none.
  var subwordPrefix = ""
  /// Put behind the last character of a word; empty for none.
  var wordSuffix = ""
  /// Nil where token texts are joined with spaces.
  var decoder: [DecoderStep]?
  /// Special tokens that the file's post-processor puts before and after a text.
  var tokensBefore: [String] = []
  var tokensAfter: [String] = []
  /// One more than the largest id.
  var vocabularySize = 0

  /// No published vocabulary comes near; it bounds what a hostile id can make the program allocate.
  static let idLimit = 1 << 22

  /// The id of an added token or of a token of the model.
  func id(of token: String) -> Int32? {
    let key = ExactString(token)
    return addedTokens.first { ExactString($0.content) == key }?.id ?? vocabulary[key]
  }
}

extension TokenizerDefinition {
  /// Reads a definition.
  ///
  /// - Parameters:
  ///   - json: the document.
  ///   - path: what errors call it.
  /// - Throws: `UserError` naming the part that is broken or not supported.
  init(_ json: JSONValue, path: String) throws(UserError) {
    let source = TokenizerSource(path: path)
    guard let model = json["model"], model.objectValue != nil else {
      throw source.broken("it has no \"model\" object")
    }
    try readModel(model, source)
    try readAddedTokens(json["added_tokens"] ?? .null, source)
    normalizer = try source.normalizer(json["normalizer"] ?? .null)
    preTokenizer = try source.preTokenizer(json["pre_tokenizer"] ?? .null)
    decoder = try source.decoder(json["decoder"] ?? .null)
    (tokensBefore, tokensAfter) = try source.template(json["post_processor"] ?? .null)
    settleVocabularySize()
  }

  /// Computes ``vocabularySize`` when all tokens are there.
  mutating func settleVocabularySize() {
    let largest = max(vocabulary.values.max() ?? 0, addedTokens.map(\.id).max() ?? 0)
    vocabularySize = Int(largest) + 1
  }

  private mutating func readModel(_ model: JSONValue, _ source: TokenizerSource)
    throws(UserError)
  {
    // Old files leave the type out; of the kinds only BPE has merges.
    let kind = model["type"]?.stringValue ?? (model["merges"] == nil ? "none" : "BPE")
    guard kind == "BPE" else { throw source.unsupported("model type \"\(kind)\"") }
    subwordPrefix = try source.optionalText(model, "continuing_subword_prefix")
    wordSuffix = try source.optionalText(model, "end_of_word_suffix")
    if let dropout = model["dropout"]?.doubleValue, dropout != 0 {
      throw source.unsupported("model.dropout")
    }
    hasByteFallback = try source.flag(model, "byte_fallback")
    fusesUnknown = try source.flag(model, "fuse_unk")
    ignoresMerges = try source.flag(model, "ignore_merges")
    try readVocabulary(model["vocab"] ?? .null, source)
    if let unknown = model["unk_token"], !unknown.isNull {
      guard let token = unknown.stringValue, let id = vocabulary[ExactString(token)] else {
        throw source.broken("model.unk_token is not a token of model.vocab")
      }
      unknownID = id
    }
    try readMerges(model["merges"] ?? .array([]), source)
  }

  mutating func readVocabulary(_ value: JSONValue, _ source: TokenizerSource) throws(UserError) {
    guard let vocabularyObject = value.objectValue, vocabularyObject.count > 0 else {
      throw source.broken("the vocabulary is not an object with tokens")
    }
    vocabulary.reserveCapacity(vocabularyObject.count)
    for (token, value) in vocabularyObject.members {
      guard let id = value.intValue, (0..<Self.idLimit).contains(id) else {
        throw source.broken(
          "the id of token \"\(token)\" is not an integer from 0 to \(Self.idLimit - 1)")
      }
      vocabulary[ExactString(token)] = Int32(id)
    }
    guard Set(vocabulary.values).count == vocabulary.count else {
      throw source.broken("two tokens of model.vocab have the same id")
    }
  }

  mutating func readMerges(_ value: JSONValue, _ source: TokenizerSource)
    throws(UserError)
  {
    // Ranks are kept in a Float, which holds integers up to here.
    guard let list = value.arrayValue, list.count < 1 << 24 else {
      throw source.broken("model.merges is not a list of fewer than \(1 << 24) pairs")
    }
    merges.reserveCapacity(list.count)
    for (rank, entry) in list.enumerated() {
      let pair: [String]
      switch entry {
      case .string(let text):
        pair = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
          .map { String(Substring($0)) }
      case .array(let parts): pair = parts.compactMap(\.stringValue)
      default: pair = []
      }
      guard pair.count == 2 else {
        throw source.broken("merge \(rank) is not a pair of tokens")
      }
      guard let left = vocabulary[ExactString(pair[0])],
        let right = vocabulary[ExactString(pair[1])],
        let id = vocabulary[ExactString(joined(pair[0], pair[1]))]
      else {
        throw source.broken(
          "merge \(rank), \"\(pair[0])\" with \"\(pair[1])\", has a token outside model.vocab")
      }
      merges.append((left, right, id))
    }
  }

  /// What a merge makes of two tokens.
  private func joined(_ left: String, _ right: String) -> String {
    let hasPrefix = !subwordPrefix.isEmpty && right.utf8.starts(with: subwordPrefix.utf8)
    return left
      + (hasPrefix ? String(Substring(right.utf8.dropFirst(subwordPrefix.utf8.count))) : right)
  }

  private mutating func readAddedTokens(_ value: JSONValue, _ source: TokenizerSource)
    throws(UserError)
  {
    if value.isNull { return }
    guard let list = value.arrayValue else { throw source.broken("added_tokens is not a list") }
    var tokens: [AddedToken] = []
    for (index, entry) in list.enumerated() {
      guard let id = entry["id"]?.intValue else {
        throw source.broken("added token \(index) has no id")
      }
      tokens.append(try source.addedToken(entry, id: id))
    }
    try add(tokens, source)
  }

  /// Takes added tokens over, each of which has an id of its own.
  mutating func add(_ tokens: [AddedToken], _ source: TokenizerSource) throws(UserError) {
    var taken: [Int32: ExactString] = [:]
    for (token, id) in vocabulary { taken[id] = token }
    for token in tokens {
      let (content, id) = (token.content, token.id)
      let key = ExactString(content)
      if let present = taken[id], present != key {
        throw source.broken(
          "the id \(id) belongs to \"\(present.text)\" and to the added token \"\(content)\"")
      }
      if let own = vocabulary[key], own != id {
        throw source.broken(
          "the added token \"\(content)\" has the id \(id), but \(own) in the vocabulary")
      }
      taken[id] = key
      addedTokens.append(token)
    }
  }
}
