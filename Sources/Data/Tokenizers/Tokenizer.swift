/// Turns text into token ids and back.
package protocol Tokenizer: Sendable {
  /// One more than the largest token id.
  var vocabularySize: Int { get }
  /// The token that begins a sequence, where the model has one.
  var bosID: Int32? { get }
  /// The token that ends an answer, where the model has one.
  var eosID: Int32? { get }

  /// The ids of `text`. No token that begins or ends a sequence is added.
  ///
  /// - Parameters:
  ///   - text: any text; added tokens in it are recognised as the model's own library does.
  ///   - isContinuation: the text continues earlier text, so no space is put in front of it.
  /// - Returns: token ids below ``vocabularySize``.
  /// - Throws: `UserError` when a character has no token and the vocabulary has no unknown token.
  func encode(_ text: String, isContinuation: Bool) throws -> [Int32]

  /// The text of a whole sequence, as the model's own library gives it.
  ///
  /// - Parameters:
  ///   - ids: tokens; those that do not exist are left out.
  ///   - keepsSpecialTokens: writes special tokens by their names.
  /// - Returns: the text; bytes that are no UTF-8 become U+FFFD.
  func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String

  /// Whether each byte that belongs to no character becomes a U+FFFD of its own. Otherwise the
  /// beginning of a character that breaks off becomes one.
  var repairsBytewise: Bool { get }

  /// The UTF-8 bytes that one token adds inside a sequence: none for a special token, one for a
  /// byte token, and possibly a part of a character.
  func continuationBytes(of id: Int32) -> [UInt8]
}

extension Tokenizer {
  package var repairsBytewise: Bool { true }

  /// The text of a whole sequence without its special tokens.
  package func decode(_ ids: [Int32]) -> String { decode(ids, keepsSpecialTokens: false) }

  /// The text that `ids` add to a sequence which they continue; bytes that are no UTF-8 become
  /// U+FFFD.
  package func decodeContinuation(_ ids: [Int32]) -> String {
    var decoder = StreamingDecoder(self)
    var text = ""
    for id in ids { text += decoder.append(id) }
    return text + decoder.finish()
  }
}
