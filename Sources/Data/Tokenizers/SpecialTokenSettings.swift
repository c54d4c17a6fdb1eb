internal import Support

/// What `tokenizer_config.json`, and after it `special_tokens_map.json`, say.
struct SpecialTokenSettings {
  var bosToken: String?
  var eosToken: String?
  var addsBOS: Bool?
  var addsEOS: Bool?
  let config: JSONValue?
  let map: JSONValue?

  init(config: JSONValue?, map: JSONValue?) {
    self.config = config
    self.map = map
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
    addsEOS = config?["add_eos_token"]?.boolValue
  }

  /// The tokens of `added_tokens_decoder`, in the order of their ids.
  func addedTokens(_ directory: String) throws(UserError) -> [AddedToken] {
    guard let value = config?["added_tokens_decoder"], !value.isNull else { return [] }
    let source = TokenizerSource(path: "\(directory)/tokenizer_config.json")
    guard let members = value.objectValue?.members else {
      throw source.broken("added_tokens_decoder is \(value.kindName), not an object")
    }
    var tokens: [AddedToken] = []
    for (name, entry) in members {
      guard let id = Int(name) else {
        throw source.broken("added_tokens_decoder has the id \"\(name)\", which is no number")
      }
      tokens.append(try source.addedToken(entry, id: id))
    }
    return tokens.sorted { $0.id < $1.id }
  }
}
