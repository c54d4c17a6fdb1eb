internal import Support

extension LlamaTokenizer {
  /// The tokenizer of a directory with a sentencepiece model.
  ///
  /// - Parameters:
  ///   - pieces: the model.
  ///   - settings: what tokenizer_config.json and special_tokens_map.json say.
  ///   - addedTokens: `added_tokens.json`, where older directories keep tokens with their ids.
  ///   - directory: for errors.
  /// - Throws: `UserError` when a file names a token that is none.
  init(
    _ pieces: SentencePieceTokenizer, _ settings: SpecialTokenSettings, addedTokens: JSONValue?,
    directory: String
  ) throws(UserError) {
    var added = try settings.addedTokens(directory)
    let isListed = settings.config?["added_tokens_decoder"].map { !$0.isNull } ?? false
    var named = try SpecialTokens(settings, isListed: isListed, pieces, directory)
    if !isListed, let members = addedTokens?.objectValue?.members {
      let source = TokenizerSource(path: "\(directory)/added_tokens.json")
      for (content, id) in members {
        guard let id = id.intValue else {
          throw source.broken("the id of \"\(content)\" is \(id.kindName), not a whole number")
        }
        added.append(try source.addedToken(["content": .string(content)], id: id))
      }
    }
    let listedSize = max(pieces.vocabularySize, Int(added.map(\.id).max() ?? -1) + 1)
    // A token that is listed with its id keeps what is said of it there.
    let listed = Dictionary(added.map { (ExactString($0.content), $0) }) { $1 }
    var vocabulary = Set(pieces.pieces.lazy.map { ExactString($0.text) })
    for token in added { vocabulary.insert(ExactString(token.content)) }
    var count = vocabulary.count
    for token in named.tokens where listed[ExactString(token.content)] == nil {
      var token = token
      if let id = pieces.id(of: token.content) {
        token.id = id
      } else {
        token.id = Int32(clamping: count)
        count += 1
      }
      added.append(token)
    }
    let special = Set(named.tokens.map { ExactString($0.content) })
    for index in added.indices {
      added[index].isSpecial = special.contains(ExactString(added[index].content))
    }
    func id(_ content: String?) -> Int32? {
      content.flatMap { content in added.last { ExactString($0.content) == ExactString(content) } }?
        .id
    }
    named.additional.formIntersection(
      added.lazy.filter { Int($0.id) >= pieces.vocabularySize }.map { ExactString($0.content) })
    self.init(
      pieces, tokens: added,
      separateIDs: Set(
        added.lazy.filter { !$0.isSpecial || named.additional.contains(ExactString($0.content)) }
          .map(\.id)),
      listedSize: listedSize, isLegacy: settings.config?["legacy"]?.boolValue ?? true,
      addsPrefixSpace: settings.config?["add_prefix_space"]?.boolValue ?? true,
      bosID: id(named.bos) ?? pieces.bosID, eosID: id(named.eos) ?? pieces.eosID)
  }
}

/// The special tokens that a directory's files name, in the order in which transformers adds them.
private struct SpecialTokens {
  /// Their ids are still to be found.
  private(set) var tokens: [AddedToken] = []
  private(set) var bos: String?
  private(set) var eos: String?
  /// Those that have no name of their own.
  var additional: Set<ExactString> = []

  init(
    _ settings: SpecialTokenSettings, isListed: Bool, _ pieces: SentencePieceTokenizer,
    _ directory: String
  ) throws(UserError) {
    let source = TokenizerSource(path: "\(directory)/tokenizer_config.json")
    func value(_ name: String) -> JSONValue? {
      // Where tokens are listed with their ids the map says nothing new.
      let documents = isListed ? [settings.config] : [settings.map, settings.config]
      return documents.lazy.compactMap { $0?[name] }.first
    }
    func token(_ value: JSONValue?) throws(UserError) -> AddedToken? {
      guard let value, !value.isNull, value.stringValue != "" else { return nil }
      if let text = value.stringValue {
        return try source.addedToken(["content": .string(text), "special": true], id: 0)
      }
      return try source.addedToken(value, id: 0)
    }
    var seen: Set<ExactString> = []
    func add(_ token: AddedToken) {
      if seen.insert(ExactString(token.content)).inserted { tokens.append(token) }
    }
    for name in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"] {
      var found = try token(value("\(name)_token"))
      // What no file names is what the model itself names.
      if found == nil, let own = Self.own(name, pieces) { found = try token(.string(own)) }
      guard let found else { continue }
      if name == "bos" { bos = found.content }
      if name == "eos" { eos = found.content }
      add(found)
    }
    for entry in value("additional_special_tokens")?.arrayValue ?? [] {
      guard let found = try token(entry) else { continue }
      additional.insert(ExactString(found.content))
      add(found)
    }
  }

  private static func own(_ name: String, _ pieces: SentencePieceTokenizer) -> String? {
    let id =
      switch name {
      case "bos": pieces.bosID
      case "eos": pieces.eosID
      case "unk": pieces.unknownID as Int32?
      default: nil as Int32?
      }
    return id.map { pieces.pieces[Int($0)].text }
  }
}
