internal import Support

/// Long conversations. To render one for each of its answers takes time that grows with the square
/// of their number.
extension TurnSpans {
  /// Renderings of single messages that finding the answers of one conversation may take: a minute.
  private static let workLimit = 4_000_000

  /// Throws where too many answers must be found by renderings of their own.
  func checkWork(_ turns: [Int]) throws(UserError) {
    // Each is rendered four times with all before it.
    let work = turns.reduce(0) { $0 + 4 * ($1 + 1) }
    guard work > Self.workLimit else { return }
    throw unknown(
      "\(turns.count) answers of the conversation must be looked for one by one, which takes too "
        + "long in a conversation of \((turns.last ?? 0) + 1) messages")
  }

  /// Finds the answers together, by one rendering with a mark in the place of each.
  ///
  /// Where the template writes every answer's own text in the place of its mark and the same around
  /// the marks as in the conversation itself, it is known where each text stands. What is trained
  /// beside it, such as the end, is learned from some answers at the beginning, in the middle and at
  /// the end, by renderings of their own; if these agree, it is so for all that have the same around
  /// them.
  ///
  /// - Parameters:
  ///   - conversation: of many turns.
  ///   - turns: the assistant's.
  ///   - whole: what the template writes.
  /// - Returns: the answers that were found, by turn; the others must be found by themselves.
  /// - Throws: `UserError` when an answer of those that are looked at alone cannot be told.
  func foundTogether(_ conversation: Conversation, _ turns: [Int], _ whole: [UInt8])
    throws(UserError) -> [Int: Answer]
  {
    var marked = conversation
    var marks: [(turn: Int, mark: [UInt8])] = []
    for turn in turns {
      let mark = Self.mark + Array("\(turn).".utf8)
      guard !Self.trimmed(Self.content(conversation.messages[turn])[...]).isEmpty,
        let one = Self.marked(conversation.only(turn), 0, with: mark)
      else { continue }
      marked.messages[turn] = one.messages[0]
      marks.append((turn, mark))
    }
    guard marks.count > 8, let all = try? render(marked, addsPrompt: false).bytes,
      let texts = Self.places(of: marks, in: all, conversation, whole)
    else { return [:] }

    let last = marks.count - 1
    let samples = [0, 1, last / 3, last / 2, last - 1, last]
    var found: [Int: Answer] = [:]
    var around: [Around] = []
    for sample in samples {
      let (turn, text) = (marks[sample].turn, texts[sample])
      let answer = try self.answer(conversation, turn, whole)
      found[turn] = answer
      guard answer.range.lowerBound <= text.lowerBound, text.upperBound <= answer.range.upperBound
      else { return found }
      // The first and the last are often written in another way.
      guard sample > 0, sample < last else { continue }
      around.append(
        Around(
          lead: Array(whole[answer.range.lowerBound..<text.lowerBound]),
          end: Array(whole[text.upperBound..<answer.range.upperBound]), hasEnd: answer.hasEnd))
    }
    guard let usual = around.first, around.allSatisfy({ $0 == usual }) else { return found }
    for ((turn, _), text) in zip(marks, texts) where found[turn] == nil {
      guard whole[..<text.lowerBound].suffix(usual.lead.count).elementsEqual(usual.lead),
        whole[text.upperBound...].starts(with: usual.end)
      else { continue }
      found[turn] = Answer(
        range: text.lowerBound - usual.lead.count..<text.upperBound + usual.end.count,
        hasEnd: usual.hasEnd)
    }
    return found
  }

  /// What is trained around the text of an answer.
  private struct Around: Equatable {
    var lead: [UInt8]
    var end: [UInt8]
    var hasEnd: Bool
  }

  /// Where the texts stand whose marks a rendering has; nil where it differs from the whole in more
  /// than these.
  private static func places(
    of marks: [(turn: Int, mark: [UInt8])], in all: [UInt8], _ conversation: Conversation,
    _ whole: [UInt8]
  ) -> [Range<Int>]? {
    let text = JinjaText(all)
    // What stands between the marks.
    var segments: [ArraySlice<UInt8>] = []
    var start = 0
    for (_, mark) in marks {
      guard let place = text.firstIndex(of: JinjaText(mark), from: start) else { return nil }
      segments.append(all[start..<place])
      start = place + mark.count
    }
    // A mark that is left was written twice.
    guard text.firstIndex(of: JinjaText(mark), from: start) == nil else { return nil }
    segments.append(all[start...])

    guard whole.starts(with: segments[0]) else { return nil }
    var position = segments[0].count
    var places: [Range<Int>] = []
    for (number, (turn, _)) in marks.enumerated() {
      // Templates write a text as it is or without white space around it.
      let content = Self.content(conversation.messages[turn])
      let segment = segments[number + 1]
      let rest = whole[position...]
      guard
        let own = [content[...], trimmed(content[...])].first(where: {
          rest.starts(with: $0) && rest.dropFirst($0.count).starts(with: segment)
        })
      else { return nil }
      places.append(position..<position + own.count)
      position += own.count + segment.count
    }
    return position == whole.count ? places : nil
  }
}

extension Conversation {
  /// One message alone.
  fileprivate func only(_ turn: Int) -> Conversation {
    Conversation(messages: [messages[turn]], tools: tools)
  }
}
