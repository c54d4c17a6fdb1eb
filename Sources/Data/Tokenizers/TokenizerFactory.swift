package import Support

/// A tokenizer with what a model directory says about its use.
package struct LoadedTokenizer: Sendable {
  package var tokenizer: any Tokenizer
  /// Whether sequences begin with ``Tokenizer/bosID``.
  package var addsBOS: Bool
  /// The file that decided how text is encoded.
  package var path: String
  /// Names of the tokenizer's files in the directory, which are copied beside an adapter.
  package var fileNames: [String]

  /// What the model's own library puts before and after every text.
  package var prefixIDs: [Int32]
  package var suffixIDs: [Int32]
  /// One more than the largest id that the files give a token.
  package var listedSize: Int

  package init(
    tokenizer: any Tokenizer, addsBOS: Bool, path: String, fileNames: [String],
    prefixIDs: [Int32] = [], suffixIDs: [Int32] = [], listedSize: Int? = nil
  ) {
    self.listedSize = listedSize ?? tokenizer.vocabularySize
    self.tokenizer = tokenizer
    self.addsBOS = addsBOS
    self.path = path
    self.fileNames = fileNames
    self.prefixIDs = prefixIDs
    self.suffixIDs = suffixIDs
  }
}

/// Finds and loads the tokenizer of a model directory.
package enum TokenizerFactory {
  /// Every file that belongs to a tokenizer.
  package static let fileNames = [
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "encoder.json", "vocab.bpe",
  ]

  private static let fileByteLimit = 1 << 28

  /// Loads the tokenizer of `directory`: from `tokenizer.json` where it exists, or
  /// `tokenizer.model`, or a vocabulary with merges.
  ///
  /// - Parameter directory: a model directory in Hugging Face layout.
  /// - Returns: the tokenizer and how it is used.
  /// - Throws: `UserError` when no tokenizer is there, or it is broken or not supported.
  package static func load(directory: String) throws(UserError) -> LoadedTokenizer {
    func path(_ name: String) -> String { "\(directory)/\(name)" }
    func json(_ name: String) throws(UserError) -> JSONValue? {
      guard FileSystem.exists(path(name)) else { return nil }
      let document = try FileSystem.readJSON(path(name), limit: fileByteLimit)
      guard document.objectValue != nil else {
        throw UserError(.badInput, at: path(name), "holds \(document.kindName), not an object")
      }
      return document
    }
    let settings = SpecialTokenSettings(
      config: try json("tokenizer_config.json"), map: try json("special_tokens_map.json"))
    let present = fileNames.filter { FileSystem.exists(path($0)) }

    if let document = try json("tokenizer.json") {
      let path = path("tokenizer.json")
      return try loaded(try TokenizerDefinition(document, path: path), settings, path, present)
    }
    if FileSystem.exists(path("tokenizer.model")) {
      let path = path("tokenizer.model")
      let bytes = try FileSystem.readBytes(path, limit: fileByteLimit)
      if TiktokenFile.isOne(bytes) {
        let definition = try TiktokenFile.read(
          bytes, addedTokens: try settings.addedTokens(directory), path: path)
        return try loaded(definition, settings, path, present)
      }
      let pieces = try SentencePieceTokenizer(
        try SentencePieceModel(bytes, path: path), path: path)
      let tokenizer = try LlamaTokenizer(
        pieces, settings, addedTokens: try json("added_tokens.json"), directory: directory)
      let addsBOS = tokenizer.bosID != nil && (settings.addsBOS ?? true)
      return LoadedTokenizer(
        tokenizer: tokenizer, addsBOS: addsBOS, path: path, fileNames: present,
        prefixIDs: addsBOS ? tokenizer.bosID.map { [$0] } ?? [] : [],
        suffixIDs: settings.addsEOS == true ? tokenizer.eosID.map { [$0] } ?? [] : [],
        listedSize: tokenizer.listedSize)
    }
    for (vocabularyName, mergesName) in VocabularyFiles.names
    where FileSystem.exists(path(vocabularyName)) {
      let (path, mergesPath) = (path(vocabularyName), path(mergesName))
      guard let vocabulary = try json(vocabularyName) else { continue }
      guard
        let family = VocabularyFiles.Family(
          config: settings.config, modelType: try json("config.json")?["model_type"]?.stringValue,
          isFirstRelease: vocabularyName == "encoder.json")
      else {
        throw UserError(
          .badInput, at: path,
          "neither tokenizer_config.json nor config.json says how the vocabulary is used",
          fix: "write {\"tokenizer_class\": \"GPT2Tokenizer\"} (or Qwen2Tokenizer) into "
            + "tokenizer_config.json, or add a tokenizer.json")
      }
      let definition = try VocabularyFiles.read(
        vocabulary: vocabulary, merges: try FileSystem.readBytes(mergesPath, limit: fileByteLimit),
        family: family, addsPrefixSpace: settings.config?["add_prefix_space"]?.boolValue ?? false,
        addedTokens: try settings.addedTokens(directory), path: path, mergesPath: mergesPath)
      return try loaded(definition, settings, path, present)
    }
    throw UserError(
      .badInput, at: directory,
      "no tokenizer: neither tokenizer.json, nor tokenizer.model, nor vocab.json with merges.txt is "
        + "in the directory",
      fix: "copy the tokenizer files of the model into the directory")
  }

  private static func loaded(
    _ definition: TokenizerDefinition, _ settings: SpecialTokenSettings, _ path: String,
    _ present: [String]
  ) throws(UserError) -> LoadedTokenizer {
    func ids(_ tokens: [String]) throws(UserError) -> [Int32] {
      var result: [Int32] = []
      for token in tokens {
        guard let id = definition.id(of: token) else {
          throw TokenizerSource(path: path).broken(
            "the post-processor names the token \"\(token)\", which does not exist")
        }
        result.append(id)
      }
      return result
    }
    var before = try ids(definition.tokensBefore)
    var after = try ids(definition.tokensAfter)
    let bosID = try id(settings.bosToken, definition, path) ?? before.first
    let eosID =
      try id(settings.eosToken, definition, path) ?? after.last ?? definition.id(of: "</s>")
      ?? definition.id(of: "<|end_of_text|>") ?? definition.id(of: "<|endoftext|>")
    if let bosID, let addsBOS = settings.addsBOS {
      if !addsBOS, before.first == bosID { before.removeFirst() }
      if addsBOS, before.first != bosID { before.insert(bosID, at: 0) }
    }
    if let eosID, let addsEOS = settings.addsEOS {
      if !addsEOS, after.last == eosID { after.removeLast() }
      if addsEOS, after.last != eosID { after.append(eosID) }
    }
    return LoadedTokenizer(
      tokenizer: try BPETokenizer(definition, bosID: bosID, eosID: eosID),
      addsBOS: bosID != nil && before.first == bosID, path: path, fileNames: present,
      prefixIDs: before, suffixIDs: after)
  }

  private static func id(_ token: String?, _ definition: TokenizerDefinition, _ path: String)
    throws(UserError) -> Int32?
  {
    guard let token else { return nil }
    guard let id = definition.id(of: token) else {
      throw UserError(
        .badInput, at: path,
        "tokenizer_config.json names the token \"\(token)\", but the vocabulary has no such token")
    }
    return id
  }
}
