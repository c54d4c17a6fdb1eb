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

  package init(tokenizer: any Tokenizer, addsBOS: Bool, path: String, fileNames: [String]) {
    self.tokenizer = tokenizer
    self.addsBOS = addsBOS
    self.path = path
    self.fileNames = fileNames
  }
}

/// Finds and loads the tokenizer of a model directory.
package enum TokenizerFactory {
  /// Every file that belongs to a tokenizer.
  package static let fileNames = [
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
  ]

  private static let fileByteLimit = 1 << 28

  /// Loads the tokenizer of `directory`: `tokenizer.json` where it exists, or `tokenizer.model`.
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
      let definition = try TokenizerDefinition(document, path: path)
      let bosID =
        try id(settings.bosToken, definition, path)
        ?? definition.tokensBefore.first
        .flatMap(definition.id(of:))
      let eosID =
        try id(settings.eosToken, definition, path) ?? definition.tokensAfter.last
        .flatMap(definition.id(of:)) ?? definition.id(of: "</s>")
      return LoadedTokenizer(
        tokenizer: BPETokenizer(definition, bosID: bosID, eosID: eosID),
        addsBOS: bosID != nil && (settings.addsBOS ?? !definition.tokensBefore.isEmpty),
        path: path, fileNames: present)
    }
    if FileSystem.exists(path("tokenizer.model")) {
      let path = path("tokenizer.model")
      let model = try SentencePieceModel(
        try FileSystem.readBytes(path, limit: fileByteLimit), path: path)
      let tokenizer = try SentencePieceTokenizer(
        model, path: path, bosToken: settings.bosToken, eosToken: settings.eosToken)
      return LoadedTokenizer(
        tokenizer: tokenizer, addsBOS: tokenizer.bosID != nil && (settings.addsBOS ?? true),
        path: path, fileNames: present)
    }
    throw UserError(
      .badInput, at: directory,
      "no tokenizer: neither tokenizer.json nor tokenizer.model is in the directory",
      fix: "copy the tokenizer files of the model into the directory")
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

/// What `tokenizer_config.json`, and after it `special_tokens_map.json`, say.
private struct SpecialTokenSettings {
  var bosToken: String?
  var eosToken: String?
  var addsBOS: Bool?

  init(config: JSONValue?, map: JSONValue?) {
    /// A token is a text, or an object that holds it as `content`.
    func token(_ name: String) -> String? {
      for document in [config, map] {
        guard let value = document?[name] else { continue }
        if let text = value.stringValue ?? value["content"]?.stringValue { return text }
      }
      return nil
    }
    bosToken = token("bos_token")
    eosToken = token("eos_token")
    addsBOS = config?["add_bos_token"]?.boolValue
  }
}
