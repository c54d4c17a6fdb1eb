internal import Support

/// Vocabulary and merges in two files, as GPT-2 and Qwen 2 came.
enum VocabularyFiles {
  /// The names that the files have: Hugging Face's, and those of GPT-2's first release.
  static let names = [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")]

  /// Which tokenizer uses the files.
  enum Family {
    case gpt2, qwen2

    /// The family by the directory's files; nil where they name none that is known.
    ///
    /// - Parameters:
    ///   - config: `tokenizer_config.json`.
    ///   - modelType: `model_type` of `config.json`.
    ///   - isFirstRelease: the files have the names of GPT-2's first release.
    init?(config: JSONValue?, modelType: String?, isFirstRelease: Bool) {
      let name =
        config?["tokenizer_class"]?.stringValue ?? modelType ?? (isFirstRelease ? "gpt2" : "")
      switch name {
      case "GPT2Tokenizer", "GPT2TokenizerFast", "gpt2": self = .gpt2
      case "Qwen2Tokenizer", "Qwen2TokenizerFast", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe":
        self = .qwen2
      default: return nil
      }
    }
  }

  /// Makes a definition.
  ///
  /// - Parameters:
  ///   - vocabulary: the object of tokens and ids.
  ///   - merges: the text of the merges, a pair a line.
  ///   - family: decides how text is cut into words.
  ///   - addsPrefixSpace: a text begins with a space.
  ///   - addedTokens: from `tokenizer_config.json`.
  ///   - path: what errors call the vocabulary.
  ///   - mergesPath: what errors call the merges.
  /// - Returns: the definition.
  /// - Throws: `UserError` for what is wrong with the files.
  static func read(
    vocabulary: JSONValue, merges: [UInt8], family: Family, addsPrefixSpace: Bool,
    addedTokens: [AddedToken], path: String, mergesPath: String
  ) throws(UserError) -> TokenizerDefinition {
    guard let text = String(validating: merges, as: UTF8.self) else {
      throw UserError(.badInput, at: mergesPath, "is not UTF-8")
    }
    var pairs: [JSONValue] = []
    for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      if line.isEmpty || line.starts(with: "#version".utf8) { continue }
      pairs.append(.string(String(Substring(line))))
    }
    let source = TokenizerSource(path: path)
    var definition = TokenizerDefinition()
    try definition.readVocabulary(vocabulary, source)
    try definition.readMerges(.array(pairs), TokenizerSource(path: mergesPath))
    let pattern = family == .gpt2 ? KnownPattern.gpt2Text : KnownPattern.qwen2Text
    if family == .qwen2 { definition.normalizer = [.form(.nfc)] }
    definition.preTokenizer =
      (addsPrefixSpace ? [.prefixSpace] : [])
      + [.split(try source.known(text: pattern), .isolated, isInverted: false), .byteLevel]
    definition.decoder = [.byteLevel]
    var addedTokens = addedTokens
    if addedTokens.isEmpty, let id = definition.id(of: "<|endoftext|>") {
      addedTokens = [
        AddedToken(
          id: id, content: "<|endoftext|>", isSpecial: true, stripsLeft: false, stripsRight: false,
          isNormalized: family == .gpt2, isSingleWord: false)
      ]
    }
    try definition.add(addedTokens, source)
    definition.settleVocabularySize()
    return definition
  }
}
