internal import Support

/// Turns a conversation into tokens as transformers' `apply_chat_template` does: one tokenization of
/// the whole text, to which nothing is added.
package struct ConversationEncoder {
  /// The tokens of a conversation.
  package struct Encoded {
    package var ids: [Int32]
    /// The tokens of each answer, with the end that the template writes after it.
    package var answers: [Range<Int>]
    /// Whether an end follows an answer.
    package var endsAnswer: Bool
  }

  private let template: ChatTemplate
  private let tokenizer: any Tokenizer
  private let longCount: Int

  /// - Parameters:
  ///   - template: makes a text of conversations.
  ///   - tokenizer: makes tokens of the text.
  ///   - longCount: the number of answers from which they are looked for together.
  package init(_ template: ChatTemplate, _ tokenizer: any Tokenizer, longCount: Int = 24) {
    self.template = template
    self.tokenizer = tokenizer
    self.longCount = longCount
  }

  /// Encodes a conversation.
  ///
  /// - Parameters:
  ///   - conversation: has an answer.
  ///   - findsAnswers: whether the answers' tokens are needed.
  /// - Returns: the tokens.
  /// - Throws: `UserError` when the template fails, or the answers cannot be told exactly.
  package func encode(_ conversation: Conversation, findsAnswers: Bool = true) throws -> Encoded {
    let spans = TurnSpans(template, longCount: longCount)
    let rendered = try spans.find(
      readable(conversation), findsAnswers: findsAnswers)
    let (ids, answers) = try TokenSpans(tokenizer).tokens(
      of: rendered.bytes, parts: rendered.answers,
      areMany: rendered.answers.count >= longCount)
    guard !ids.isEmpty else {
      throw UserError(.badInput, "the chat template (\(template.path)) writes nothing")
    }
    try checkSpecialTokens(rendered.bytes, ids)
    return Encoded(ids: ids, answers: answers, endsAnswer: rendered.endsAnswer)
  }

  /// The conversation in a form that the template reads: text in parts is joined where it does not
  /// read these.
  private func readable(_ conversation: Conversation) -> Conversation {
    let roles = conversation.rolesInParts.filter { !template.readsParts(of: $0) }
    return roles.isEmpty ? conversation : conversation.joined(roles)
  }

  /// A template writes special tokens by their names. A tokenizer that takes these for plain text
  /// would train on their letters.
  private func checkSpecialTokens(_ text: [UInt8], _ ids: [Int32]) throws(UserError) {
    for (name, id) in [("bos_token", tokenizer.bosID), ("eos_token", tokenizer.eosID)] {
      guard let id, let token = template.constant(name), !token.isEmpty, !ids.contains(id),
        JinjaText(text).firstIndex(of: JinjaText(token)) != nil
      else { continue }
      throw UserError(
        .badInput,
        "the chat template writes the token \(token), but the model's tokenizer takes it for plain "
          + "text",
        fix: "put a tokenizer.json beside tokenizer.model, or give a template without such tokens "
          + "with --chat-template FILE")
    }
  }

  /// The last answer as a question to a model.
  package struct Question {
    package var prompt: [Int32]
    /// What the model is to write, as its tokens read.
    package var answer: String
    /// The special token that ends the answer; nil where the template writes none.
    package var endID: Int32?
  }

  /// The last answer as a question to a model: the tokens before it are those of training.
  ///
  /// - Parameter conversation: has an answer.
  /// - Returns: the question; nil where the last answer has no tokens.
  /// - Throws: `UserError` when the template fails, or the answer cannot be told exactly.
  package func question(_ conversation: Conversation) throws -> Question? {
    guard let turn = conversation.assistantTurns.last(where: conversation.isTrained) else {
      return nil
    }
    let encoded = try encode(conversation.prefix(turn + 1))
    guard let range = encoded.answers.last, !range.isEmpty, range.lowerBound > 0 else { return nil }
    let last = encoded.ids[range.upperBound - 1]
    return Question(
      prompt: Array(encoded.ids[..<range.lowerBound]),
      answer: tokenizer.decodeContinuation(Array(encoded.ids[range])),
      endID: tokenizer.continuationBytes(of: last).isEmpty ? last : nil)
  }

  /// The tokens that a model continues with its answer.
  ///
  /// - Parameter conversation: up to the answer.
  /// - Returns: the tokens, those of the generation prompt last.
  /// - Throws: `UserError` when the template fails.
  package func prompt(_ conversation: Conversation) throws -> [Int32] {
    let bytes = try TurnSpans(template).prompt(readable(conversation))
    return try tokenizer.encode(String(decoding: bytes, as: UTF8.self), isContinuation: false)
  }
}
