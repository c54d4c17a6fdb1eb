internal import Support

/// A conversation as text, and which bytes of it are the assistant's answers.
struct RenderedConversation {
  var bytes: [UInt8]
  /// One for each answer, in order: its text and the end that the template writes after it.
  var answers: [Range<Int>]
  /// Whether an end follows an answer.
  var endsAnswer: Bool
}

/// Finds the answers in what a chat template writes.
///
/// A template with `generation` blocks says it itself. Otherwise an answer begins where the text of
/// the messages before it, generation prompt included, ends; where a template writes earlier turns
/// in another way than last ones, the answer is found by putting a mark in its place.
///
/// That takes renderings for every answer, so that answers of long conversations are found together
/// (`TurnSpans+Long.swift`).
struct TurnSpans {
  let template: ChatTemplate
  /// Conversations with fewer answers are rendered for each.
  private let longCount: Int

  init(_ template: ChatTemplate, longCount: Int = .max) {
    self.template = template
    self.longCount = longCount
  }

  /// The text that a model continues with an answer.
  func prompt(_ conversation: Conversation) throws(UserError) -> [UInt8] {
    try render(conversation, addsPrompt: true).bytes
  }

  /// Renders a conversation and finds its answers.
  ///
  /// - Parameters:
  ///   - conversation: has an answer.
  ///   - findsAnswers: whether these are needed; without them every template will do.
  /// - Returns: the text and the answers.
  /// - Throws: `UserError` when the template fails, or when it cannot be told exactly which part of
  ///   the text is an answer.
  func find(_ conversation: Conversation, findsAnswers: Bool = true) throws(UserError)
    -> RenderedConversation
  {
    let whole = try render(conversation, addsPrompt: false)
    guard findsAnswers else {
      return RenderedConversation(bytes: whole.bytes, answers: [], endsAnswer: true)
    }
    let turns = conversation.assistantTurns
    if template.marksGeneration {
      guard whole.generated.count == turns.count else {
        throw unknown(
          "its generation blocks mark \(whole.generated.count) parts, but the conversation has "
            + "\(turns.count) answers")
      }
      let last = whole.generated.last ?? 0..<0
      return RenderedConversation(
        bytes: whole.bytes, answers: whole.generated,
        endsAnswer: !Self.trimmed(whole.bytes[last]).elementsEqual(
          Self.trimmed(Self.content(conversation.messages[turns[turns.count - 1]])[...])))
    }
    let found =
      turns.count >= longCount ? try foundTogether(conversation, turns, whole.bytes) : [:]
    try checkWork(turns.filter { found[$0] == nil })
    var answers: [Range<Int>] = []
    var hasEnd = false
    for turn in turns {
      let answer: Answer
      if let known = found[turn] {
        answer = known
      } else {
        answer = try self.answer(conversation, turn, whole.bytes)
      }
      guard answer.range.lowerBound >= answers.last?.upperBound ?? 0 else {
        throw unknown("two answers overlap in what it writes")
      }
      answers.append(answer.range)
      hasEnd = hasEnd || answer.hasEnd
    }
    return RenderedConversation(bytes: whole.bytes, answers: answers, endsAnswer: hasEnd)
  }

  /// An answer with its end.
  struct Answer: Equatable {
    var range: Range<Int>
    var hasEnd: Bool
  }

  /// An answer by renderings of its own.
  func answer(_ conversation: Conversation, _ turn: Int, _ whole: [UInt8]) throws(UserError)
    -> Answer
  {
    if let found = try byPrefix(conversation, turn, whole) { return found }
    return try byMark(conversation, turn, whole)
  }

  func render(_ conversation: Conversation, addsPrompt: Bool) throws(UserError)
    -> ChatTemplate.Rendering
  {
    try template.render([
      ("messages", .array(conversation.messages)), ("tools", conversation.tools ?? .null),
      ("documents", .null), ("add_generation_prompt", .bool(addsPrompt)),
    ])
  }

  func unknown(_ reason: String) -> UserError {
    UserError(
      .badInput,
      "the chat template (\(template.path)) does not tell which tokens are the answer: \(reason)",
      fix: "put {% generation %} and {% endgeneration %} around the answer in a copy of the "
        + "template and give it with --chat-template FILE, or train on everything with "
        + "--train-on all")
  }

  /// The answer between the messages before it and the end of its own; nil where the template
  /// writes them in another way when more follows.
  private func byPrefix(_ conversation: Conversation, _ turn: Int, _ whole: [UInt8])
    throws(UserError) -> Answer?
  {
    // A template may refuse a conversation that ends here.
    guard turn > 0,
      let before = try? render(conversation.prefix(turn), addsPrompt: false).bytes,
      let prompt = try? render(conversation.prefix(turn), addsPrompt: true).bytes,
      let through = try? render(conversation.prefix(turn + 1), addsPrompt: false).bytes,
      // Without a generation prompt of its own the header would count as the answer.
      prompt != before, through.starts(with: prompt), whole.starts(with: through)
    else { return nil }
    let text = whole[prompt.count..<through.count]
    // Where a mark in place of the answer's text stands before what ends the turn tells the end.
    guard let marked = Self.marked(conversation.prefix(turn + 1), turn),
      let short = try? render(marked, addsPrompt: false).bytes,
      let place = Self.positions(of: Self.mark, in: short).last,
      case let rest = short[(place + Self.mark.count)...], text.count >= rest.count,
      text.suffix(rest.count).elementsEqual(rest)
    else {
      return Answer(range: text.startIndex..<Self.trimmedRight(text).endIndex, hasEnd: true)
    }
    guard rest.isEmpty else {
      return Answer(
        range: text.startIndex..<text.endIndex - rest.count + Self.end(of: rest).count, hasEnd: true
      )
    }
    // Some templates write the end of a turn only when another turn follows.
    let end = endToken(startingIn: whole[text.endIndex...])
    return Answer(range: text.startIndex..<text.endIndex + end, hasEnd: end > 0)
  }

  /// The answer where a mark in its place would stand.
  private func byMark(_ conversation: Conversation, _ turn: Int, _ whole: [UInt8])
    throws(UserError) -> Answer
  {
    let content = Self.content(conversation.messages[turn])
    let mark = Self.mark
    guard !Self.trimmed(content[...]).isEmpty, Self.positions(of: mark, in: whole).isEmpty,
      let marked = Self.marked(conversation, turn)
    else { throw unknown("message \(turn + 1) has no text of its own to be found by") }
    let all = try render(marked, addsPrompt: false).bytes
    let places = Self.positions(of: mark, in: all)
    guard places.count == 1 else {
      throw unknown("it writes the text of message \(turn + 1) \(places.count) times")
    }
    let head = all[..<places[0]]
    let tail = all[(places[0] + mark.count)...]
    guard whole.count >= head.count + tail.count, whole.starts(with: head),
      whole.suffix(tail.count).elementsEqual(tail)
    else { throw unknown("what it writes around message \(turn + 1) depends on the message") }
    let text = head.count..<whole.count - tail.count
    guard
      !Self.positions(of: Array(Self.trimmed(whole[text])), in: content).isEmpty
    else { throw unknown("it changes the text of message \(turn + 1)") }
    // What follows the mark when nothing comes after it is the end.
    let short = try render(marked.prefix(turn + 1), addsPrompt: false).bytes
    guard let place = Self.positions(of: mark, in: short).first else {
      throw unknown("it does not write message \(turn + 1) when it is the last")
    }
    let end = Self.end(of: short[(place + mark.count)...])
    let count = tail.starts(with: end) && !end.isEmpty ? end.count : endToken(startingIn: tail)
    guard count > 0 || end.isEmpty else {
      throw unknown("the end of message \(turn + 1) depends on what follows")
    }
    return Answer(range: text.lowerBound..<text.upperBound + count, hasEnd: count > 0)
  }

  /// The end of a turn in what follows its text: up to the first white space after a word. What
  /// comes then, such as the header of a turn that a template always adds, is not the turn's.
  private static func end(of text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let lead = text.count - JinjaText(text).stripped(left: true, right: false).bytes.count
    let word = text.dropFirst(lead).prefix { $0 != 0x0A && $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }
    return word.isEmpty ? text : text[..<word.endIndex]
  }

  /// How many bytes from the start of `tail` the end token takes, which stands there with or
  /// without a space before it; 0 where it does not.
  private func endToken(startingIn tail: ArraySlice<UInt8>) -> Int {
    guard let token = template.endToken, !token.isEmpty else { return 0 }
    for space in ["", " ", "\n"] where tail.starts(with: Array((space + token).utf8)) {
      return (space + token).utf8.count
    }
    return 0
  }

  /// Characters for private use, which neither templates nor data have.
  static let mark = Array("\u{F8F0}answer\u{F8F1}".utf8)

  /// The conversation with a mark in place of a message's text; nil where it has none, or calls
  /// functions beside it.
  static func marked(
    _ conversation: Conversation, _ turn: Int, with mark: [UInt8] = TurnSpans.mark
  ) -> Conversation? {
    guard var message = conversation.messages[turn].objectValue,
      ["tool_calls", "function_call"].allSatisfy({ message[$0].map(\.isNull) ?? true })
    else { return nil }
    let text = JSONValue.string(String(decoding: mark, as: UTF8.self))
    switch message["content"] {
    case .string: message["content"] = text
    case .array:
      message["content"] = [["type": "text", "text": text]]
    default: return nil
    }
    var marked = conversation
    marked.messages[turn] = .object(message)
    return marked
  }

  /// The text of a message; that of parts is joined.
  static func content(_ message: JSONValue) -> [UInt8] {
    switch message["content"] {
    case .string(let text): Array(text.utf8)
    case .array(let parts): parts.flatMap { Array(($0["text"]?.stringValue ?? "").utf8) }
    default: []
    }
  }

  private static func trimmedRight(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    bytes.prefix(JinjaText(bytes).stripped(left: false, right: true).bytes.count)
  }

  static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let right = trimmedRight(bytes)
    return right.suffix(JinjaText(right).stripped(left: true, right: false).bytes.count)
  }

  private static func positions(of needle: [UInt8], in bytes: [UInt8]) -> [Int] {
    let (text, needle) = (JinjaText(bytes), JinjaText(needle))
    guard !needle.isEmpty else { return [] }
    var positions: [Int] = []
    var start = 0
    while positions.count < 2, let found = text.firstIndex(of: needle, from: start) {
      positions.append(found)
      start = found + needle.bytes.count
    }
    return positions
  }
}
