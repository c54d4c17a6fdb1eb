package import Support

/// A tokenizer that knows tokens a model has no embedding for: to write one in a text is an error.
struct BoundedTokenizer: Tokenizer {
  let tokenizer: any Tokenizer
  /// Ids that the model knows lie below it.
  let limit: Int
  let path: String

  var vocabularySize: Int { tokenizer.vocabularySize }
  var bosID: Int32? { tokenizer.bosID }
  var eosID: Int32? { tokenizer.eosID }
  var repairsBytewise: Bool { tokenizer.repairsBytewise }

  func encode(_ text: String, isContinuation: Bool) throws -> [Int32] {
    let ids = try tokenizer.encode(text, isContinuation: isContinuation)
    if let id = ids.first(where: { Int($0) >= limit }) {
      throw UserError(
        .badInput,
        "the text has the token \(tokenizer.decode([id], keepsSpecialTokens: true)), whose id \(id) "
          + "lies beyond the model's vocabulary of \(limit) (\(path))",
        fix: "take the token out of the text, or use the tokenizer that belongs to the model")
    }
    return ids
  }

  func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String {
    tokenizer.decode(ids, keepsSpecialTokens: keepsSpecialTokens)
  }

  func continuationBytes(of id: Int32) -> [UInt8] { tokenizer.continuationBytes(of: id) }
}

extension LoadedTokenizer {
  /// The tokenizer for a model, whose embedding it must not exceed.
  ///
  /// Tokens without an id of their own, such as a padding token that only special_tokens_map.json
  /// names, come after all others, where many models have no embedding. They are allowed as long as
  /// no text has them.
  ///
  /// - Parameter limit: how many ids the model knows.
  /// - Throws: `UserError` when the files give a token an id beyond.
  package func bounded(by limit: Int) throws(UserError) -> LoadedTokenizer {
    let ends = [tokenizer.bosID, tokenizer.eosID].map { Int($0 ?? -1) + 1 }
    let needed = max(listedSize, ends.max() ?? 0)
    guard needed <= limit else {
      throw UserError(
        .badInput, at: path,
        "the tokenizer has \(needed) tokens, but the model's vocabulary \(limit)",
        fix: "use the tokenizer that belongs to the model")
    }
    guard tokenizer.vocabularySize > limit else { return self }
    var bounded = self
    bounded.tokenizer = BoundedTokenizer(tokenizer: tokenizer, limit: limit, path: path)
    return bounded
  }
}
