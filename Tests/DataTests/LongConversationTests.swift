import Data
import Support
import Testing

/// Answers that are looked for together are those that are found one by one.
@Suite struct LongConversationTests {
  private static let texts = [
    "ab", "yes", " leading", "trailing \n", "a\n\nb", "x", "x", "\u{AC00}\u{B098}", "<|im_end|>",
    "[INST]", "assistant", "<think>\nhm\n</think>\n\nso", "1.", "", "end.", "\n", "{\"a\": 1}",
  ]

  /// Alternating messages; some have texts that hardly anything can be found by.
  static func conversation(_ count: Int, seed: Int, isPlain: Bool) -> Conversation {
    var state = UInt64(seed)
    func random(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    return Conversation(
      messages: (0..<count).map { number in
        var text = "message \(number)"
        if !isPlain { text = texts[random(texts.count)] }
        return ["role": number % 2 == 0 ? "user" : "assistant", "content": .string(text)]
      })
  }

  enum Outcome: Equatable {
    case found([Int32], [Range<Int>], Bool)
    case refused(String)
  }

  static func outcome(
    _ template: ChatTemplate, _ tokenizer: any Tokenizer, _ conversation: Conversation,
    longCount: Int
  ) -> Outcome {
    do {
      let encoded = try ConversationEncoder(template, tokenizer, longCount: longCount)
        .encode(conversation)
      return .found(encoded.ids, encoded.answers, encoded.endsAnswer)
    } catch let error as UserError {
      return .refused(error.message)
    } catch { return .refused("\(error)") }
  }

  /// - Returns: how many conversations had answers that were found.
  static func compare(_ template: ChatTemplate, _ tokenizers: [any Tokenizer], rounds: Int) -> Int {
    var count = 0
    for round in 0..<rounds {
      let talk = conversation(24 + round, seed: round, isPlain: round % 2 == 0)
      for tokenizer in tokenizers {
        let slow = outcome(template, tokenizer, talk, longCount: .max)
        let quick = outcome(template, tokenizer, talk, longCount: 9)
        #expect(slow == quick, "\(template.path) \(round)")
        if case .found = slow { count += 1 }
      }
    }
    return count
  }

  static func tokenizers() throws -> [any Tokenizer] {
    let llama = try #require(TokenizerFixtureTests.cases.first { $0.name == "llama2" })
    let legacy = try #require(LlamaTokenizerTests.cases.first { $0.name == "plain-True" })
    return [SmallTokenizer(), try llama.load().tokenizer, try legacy.load().tokenizer]
  }

  static let constants: [(name: String, value: JSONValue)] = [
    ("bos_token", "<s>"), ("eos_token", "</s>"),
  ]

  @Test(.enabled(if: SharedData.isPresent, Comment(rawValue: SharedData.absence)))
  func realTemplatesFindTheSameAnswers() throws {
    let path = SharedData.path("data/tokenizers/hf-test-vectors/jinja_chat_templates.vectors.json")
    let vectors = try #require(try FileSystem.readJSON(path, limit: 1 << 26).objectValue)
    let tokenizers = try Self.tokenizers()
    var withAnswers = 0
    for (name, vector) in vectors.members {
      let template = try ChatTemplate(
        vector["chat_template"]?.stringValue ?? "", path: name, constants: Self.constants)
      if Self.compare(template, tokenizers, rounds: 6) > 0 { withAnswers += 1 }
    }
    #expect(withAnswers > 35)
  }

  /// Templates that write some turns in another way than others.
  @Test(arguments: [
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if not loop.last %}{{ eos_token }}{% endif %}{% endfor %}",
    "{% for m in messages %}[{{ m.role }}{{ '!' if loop.index % 6 == 0 }}]{{ m.content | trim }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    "{% for m in messages %}<{{ loop.revindex }}>{{ m.content }}</s>\n{% endfor %}",
    "{% for m in messages %}({{ m.role }}) {{ m.content if loop.index > 6 else m.content | upper }}</s>{% endfor %}{% if add_generation_prompt %}(assistant){% endif %}",
    "{% for m in messages %}({{ m.role }}) {{ m.content }}{{ '</s>' if loop.index % 4 else '.' }}{% endfor %}{% if add_generation_prompt %}(assistant) {% endif %}",
    // One answer is unlike all others.
    "{% for m in messages %}({{ m.role }}) {{ m.content }}{{ '.' if loop.index == 14 else '</s>' }}{% endfor %}{% if add_generation_prompt %}(assistant) {% endif %}",
    "{% for m in messages %}({{ m.role }}) {{ '!' if loop.index == 14 else '>' }}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}(assistant) {% endif %}",
    "{% for m in messages %}({{ m.role }}) {{ m.content }}</s>{{ m.content | length }}{% endfor %}{% if add_generation_prompt %}(assistant) {% endif %}",
  ])
  func strangeTemplatesFindTheSameAnswers(_ text: String) throws {
    let template = try ChatTemplate(text, path: "t", constants: Self.constants)
    _ = Self.compare(template, try Self.tokenizers(), rounds: 12)
  }

  /// Two thousand turns are a matter of a second or two; one by one it would be a minute.
  @Test(.timeLimit(.minutes(1))) func longConversationsTakeLinearTime() throws {
    let chatML = """
      {% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}\
      {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
      """
    let template = try ChatTemplate(chatML, path: "t", constants: Self.constants)
    let talk = Self.conversation(4000, seed: 1, isPlain: true)
    for tokenizer in try Self.tokenizers() {
      let encoded = try ConversationEncoder(template, tokenizer).encode(talk)
      #expect(encoded.answers.count == 2000 && encoded.endsAnswer)
    }
  }

  /// Where each answer would have to be looked for by itself the row is refused in time.
  @Test(.timeLimit(.minutes(1))) func conversationsThatWouldTakeTooLongAreRefused() throws {
    let template = try ChatTemplate(
      "{% for m in messages %}({{ m.role }}) {{ m.content | upper }}</s>{% endfor %}", path: "t",
      constants: Self.constants)
    let outcome = Self.outcome(
      template, SmallTokenizer(), Self.conversation(4000, seed: 1, isPlain: true), longCount: 24)
    #expect(
      outcome
        == .refused(
          "the chat template (t) does not tell which tokens are the answer: 2000 answers of the "
            + "conversation must be looked for one by one, which takes too long in a conversation of "
            + "4000 messages"))
  }
}
