import Data
import Support
import Testing

/// Each byte is a token, except for what stands in the list: special tokens and pairs that merge.
struct SmallTokenizer: Tokenizer {
  var specials = ["<|im_start|>", "<|im_end|>", "<s>", "</s>"]
  var merges = ["\n\n", "ab"]
  var vocabularySize: Int { 300 }
  var bosID: Int32? { 258 }
  var eosID: Int32? { 259 }

  func encode(_ text: String, isContinuation: Bool) -> [Int32] {
    let known = (specials + merges).map { Array($0.utf8) }
    let bytes = Array(text.utf8)
    var ids: [Int32] = []
    var position = 0
    while position < bytes.count {
      if let index = known.firstIndex(where: { bytes[position...].starts(with: $0) }) {
        ids.append(Int32(256 + index))
        position += known[index].count
      } else {
        ids.append(Int32(bytes[position]))
        position += 1
      }
    }
    return ids
  }

  func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String { decodeContinuation(ids) }
  func continuationBytes(of id: Int32) -> [UInt8] {
    if id < 256 { return [UInt8(id)] }
    let index = Int(id) - 256 - specials.count
    return merges.indices.contains(index) ? Array(merges[index].utf8) : []
  }

  /// The tokens as text, special ones by name.
  func text(_ ids: some Sequence<Int32>) -> String {
    ids.map { id in
      let index = Int(id) - 256
      return specials.indices.contains(index)
        ? specials[index] : String(decoding: continuationBytes(of: id), as: UTF8.self)
    }.joined()
  }
}

private let chatML = """
  {% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' \
  + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
  """

@Suite struct ConversationTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  static let twoTurns = #"""
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "ab"}, \#
    {"role": "user", "content": "x"}, {"role": "assistant", "content": "end"}]}
    """#

  func dataset(
    _ rows: String, template: String = chatML, trainOn: SampleBuilder.TrainOn = .completion
  ) throws -> Dataset {
    let path = try directory.write("d.jsonl", rows)
    let templates = ChatTemplates(
      try ChatTemplate(
        template, path: "t.jinja",
        constants: [("bos_token", "<s>"), ("eos_token", "</s>")]))
    let loaded = LoadedTokenizer(
      tokenizer: SmallTokenizer(), addsBOS: true, path: "", fileNames: [])
    let builder = SampleBuilder(
      loaded, settings: .init(trainOn: trainOn), chatTemplates: .success(templates))
    let store = try TokenStore.build(
      DatasetReader(path: path, vocabularySize: 300), with: builder)
    return try Dataset.make([Dataset.Source(store)], with: builder).training
  }

  /// The text of a sample with what is trained in brackets.
  func marked(
    _ rows: String, template: String = chatML, trainOn: SampleBuilder.TrainOn = .completion
  ) throws -> String {
    let sample = try dataset(rows, template: template, trainOn: trainOn).samples.sample(0)
    var text = ""
    var isLearned = false
    for (id, label) in zip(sample.tokens, sample.labels) {
      if (label != Sample.ignoredLabel) != isLearned {
        text += isLearned ? "]" : "["
        isLearned.toggle()
      }
      text += SmallTokenizer().text([id])
    }
    return text + (isLearned ? "]" : "")
  }

  func failure(_ rows: String, template: String = chatML) -> String {
    do {
      _ = try dataset(rows, template: template)
      return "no error"
    } catch {
      return "\(error)".replacing(directory.path + "/", with: "")
    }
  }

  @Test func answersOfWeightZeroAreNotTrained() throws {
    let head = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    let middle = "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    func weighted(_ first: String, _ last: String) -> String {
      Self.twoTurns.replacing(#""ab""#, with: #""ab", "weight": \#(first)"#)
        .replacing(#""end""#, with: #""end", "weight": \#(last)"#)
    }
    let all = "\(head)[ab<|im_end|>]\n\(middle)[end<|im_end|>]\n"
    let last = "\(head)ab<|im_end|>\n\(middle)[end<|im_end|>]\n"
    let first = "\(head)[ab<|im_end|>]\n\(middle)end<|im_end|>\n"
    #expect(try marked(weighted("1", "null")) == all)
    #expect(try marked(weighted("0", "1")) == last)
    for trainOn in [SampleBuilder.TrainOn.completion, .last] {
      #expect(try marked(weighted("1.0", "0"), trainOn: trainOn) == first)
    }
    #expect(failure(weighted("0", "0")).contains("has the weight 0, so there is nothing to learn"))
    let shared =
      #"{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "ab", "weight": 0}, "#
      + #"{"from": "human", "value": "x"}, {"from": "gpt", "value": "end"}]}"#
    #expect(try marked(shared) == last)
    #expect(
      failure(shared.replacing(": 0", with: ": 2")).contains("conversations[1] has the weight 2"))
    #expect(failure(weighted("0.5", "1")).contains("messages[1] has the weight 0.5"))
    #expect(failure(weighted("1", "true")).contains("messages[3] has the weight true"))
  }

  @Test func everyAnswerAndItsEndAreTrained() throws {
    let head = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    let middle = "\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    for trainOn in [SampleBuilder.TrainOn.completion, .assistant] {
      #expect(
        try marked(Self.twoTurns, trainOn: trainOn)
          == head + "[ab<|im_end|>]" + middle + "[end<|im_end|>]\n")
    }
    #expect(
      try marked(Self.twoTurns, trainOn: .last)
        == head + "ab<|im_end|>" + middle + "[end<|im_end|>]\n")
    #expect(
      try marked(Self.twoTurns, trainOn: .all)
        == "<|im_start|>[user\nHi<|im_end|>\n<|im_start|>assistant\nab<|im_end|>" + middle
        + "end<|im_end|>\n]")
  }

  @Test func theIDsAreThoseOfTheWholeText() throws {
    let sample = try dataset(Self.twoTurns).samples.sample(0)
    let text = SmallTokenizer().text(sample.tokens)
    #expect(sample.tokens == SmallTokenizer().encode(text, isContinuation: false))
  }

  /// The line end of the header and the one that begins the answer are one token.
  @Test func aTokenAcrossABorderBelongsToTheAnswer() throws {
    let rows = Self.twoTurns.replacing("\"end\"", with: "\"\\n!\"")
    #expect(
      try marked(rows, trainOn: .last).hasSuffix("<|im_start|>assistant[\n\n!<|im_end|>]\n"))
  }

  @Test func generationBlocksSayWhatIsTrained() throws {
    let template = """
      {% for m in messages %}{{ m.role + ':' }}{% if m.role == 'assistant' %}{% generation %}\
      {{ m.content + '</s>' }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}
      """
    #expect(
      try marked(Self.twoTurns, template: template)
        == "user:Hiassistant:[ab</s>]user:xassistant:[end</s>]")
  }

  /// Templates without a generation prompt, and ones that write earlier turns in another way.
  @Test func answersAreFoundByAMarkWhereNothingElseTells() throws {
    let llama = """
      {{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\
      {% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}
      """
    #expect(
      try marked(Self.twoTurns, template: llama)
        == "<s>[INST] Hi [/INST] [ab </s>][INST] x [/INST] [end </s>]")
    let thinking = """
      {% for m in messages %}{% if m.role == 'assistant' and loop.last %}A:<think></think>\
      {{ m.content }}</s>{% elif m.role == 'assistant' %}A:{{ m.content }}</s>{% else %}U:\
      {{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}
      """
    #expect(
      try marked(Self.twoTurns, template: thinking)
        == "U:HiA:[ab</s>]U:xA:[<think></think>end</s>]")
    // A header that the template writes after every conversation is no end of an answer.
    let always = """
      {% for m in messages %}<|im_start|>{{ m.role }}
      {{ m.content }}<|im_end|>
      {% endfor %}<|im_start|>assistant
      """
    #expect(
      try marked(Self.twoTurns, template: always).hasSuffix(
        "<|im_start|>assistant\n[end<|im_end|>]\n<|im_start|>assistant"))
  }

  @Test func whatCannotBeToldIsAnError() {
    let twice = "{% for m in messages %}{{ m.content }}|{{ m.content }};{% endfor %}"
    #expect(failure(Self.twoTurns, template: twice).contains("the text of message 2 2 times"))
    let changed = "{% for m in messages %}{{ m.content | upper }}</s>{% endfor %}"
    #expect(
      failure(Self.twoTurns, template: changed)
        .contains("d.jsonl:1: the chat template (t.jinja) does not tell"))
    let endless = "{% for m in messages %}{{ m.content }}{% endfor %}"
    #expect(failure(Self.twoTurns, template: endless).contains("0 train the end token"))
  }

  @Test func shareGPTNamesAreRoles() throws {
    let rows = #"""
      {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Hi"}, \#
      {"from": "gpt", "value": "Yo"}], "tools": ""}
      """#
    #expect(
      try marked(rows)
        == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        + "<|im_start|>assistant\n[Yo<|im_end|>]\n")
  }

  @Test func toolsAndCallsReachTheTemplate() throws {
    let template = """
      {{ tools | tojson }}{% for m in messages %}{% if m.tool_calls %}A:{{ m.tool_calls[0].function.name }}\
      </s>{% else %}{{ m.role[0] | upper }}:{{ m.content }}</s>{% endif %}{% endfor %}\
      {% if add_generation_prompt %}A:{% endif %}
      """
    let rows = #"""
      {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": \#
      [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}], "tools": [{"n": 1}]}
      """#
    #expect(try marked(rows, template: template) == #"[{"n": 1}]U:go</s>A:[f</s>]"#)
  }

  @Test func alpacaRowsGetAlpacasPrompt() throws {
    let rows = """
      {"instruction": "Say it.", "input": "in", "output": "out"}
      {"instruction": "Say it.", "output": "out"}
      """
    let reader = try DatasetReader(path: try directory.write("a.jsonl", rows), vocabularySize: 9)
    var pairs: [Row] = []
    try reader.forEachRow { entry in
      pairs.append(entry.row)
      return true
    }
    let end =
      "Write a response that appropriately completes the request.\n\n### Instruction:\nSay it."
    guard case .pair(let first, "out") = pairs[0], case .pair(let second, "out") = pairs[1] else {
      Issue.record("\(pairs)")
      return
    }
    #expect(
      first == "Below is an instruction that describes a task, paired with an input that provides "
        + "further context. \(end)\n\n### Input:\nin\n\n### Response:\n")
    #expect(second == "Below is an instruction that describes a task. \(end)\n\n### Response:\n")
    #expect(try reader.rowFormat()?.summary.hasPrefix("Alpaca") == true)
  }

  @Test(arguments: [
    (#"{"messages": []}"#, "d.jsonl:1: the conversation has no messages"),
    (#"{"messages": "x"}"#, "the column \"messages\" is a string, but a list"),
    (#"{"messages": [{"content": "x"}]}"#, "messages[0] has no \"role\""),
    (#"{"messages": [{"role": "user"}]}"#, "messages[0] has no \"content\""),
    (#"{"messages": [{"role": "user", "content": "x"}]}"#, "nothing to learn"),
    (
      #"{"messages": [{"role": "user", "content": [{"type": "image"}]}]}"#,
      "has the type \"image\", but only text is trained"
    ),
    (
      #"{"conversations": [{"from": "nobody", "value": "x"}]}"#,
      "\"nobody\", which is no known speaker"
    ),
    (#"{"conversations": [{"from": "gpt"}]}"#, "has no \"value\""),
    (#"{"instruction": "a", "output": "b", "history": [["c", "d"]]}"#, "has no place for it"),
  ])
  func brokenRowsAreNamed(_ row: String, _ message: String) {
    let error = failure(row)
    #expect(error.contains(message), "\(error)")
  }

  @Test func theTemplatesRefusalNamesFileAndRow() {
    let template = "{{ raise_exception('unknown role ' ~ messages[0].role) }}"
    #expect(
      failure(Self.twoTurns, template: template)
        .hasPrefix("d.jsonl:1: the chat template refuses the conversation: unknown role user"))
  }

  @Test func templatesAreFoundInTheModelsFiles() throws {
    func path() throws -> String { try ChatTemplates.load(directory: directory.path).path }
    let none = #expect(throws: UserError.self) { try path() }
    #expect(none?.fix.contains("--chat-template") == true)
    try directory.write(
      "tokenizer_config.json",
      #"{"bos_token": {"content": "<b>"}, "chat_template": [{"name": "default", "template": "{{ bos_token }}1"}, {"name": "tool_use", "template": "2"}]}"#
    )
    let named = try ChatTemplates.load(directory: directory.path)
    let plain = Conversation(messages: [["role": "user", "content": "x"]])
    var tools = plain
    tools.tools = [["name": "f"]]
    #expect(try named.template(of: plain).render([]).text == "<b>1")
    #expect(try named.template(of: tools).render([]).text == "2")
    try directory.write("chat_template.jinja", "3")
    #expect(try path().hasSuffix("chat_template.jinja"))
    let other = try directory.write("own.jinja", "4{{ eos_token is defined }}")
    #expect(
      try ChatTemplates.load(directory: directory.path, path: other).template(of: plain)
        .render([]).text == "4False")
  }

  static let inParts = #"""
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", \#
    "text": "i"}]}, {"role": "assistant", "content": [{"type": "text", "text": "a"}, \#
    {"type": "text", "text": "b"}]}, {"role": "user", "content": "x"}, \#
    {"role": "assistant", "content": "end"}]}
    """#

  static let readingParts = """
    {% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}\
    {% if message.content is string %}{{ message.content }}{% else %}\
    {% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
    """

  /// Texts in parts are joined, unless the template reads parts itself.
  @Test(arguments: [
    chatML, readingParts,
    // Writes a list as Python does.
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    // Reads parts of questions alone.
    readingParts.replacing("is string", with: "is string or message.role == 'assistant'"),
  ])
  func textsMayBeInParts(_ template: String) throws {
    #expect(
      try marked(Self.inParts, template: template) == marked(Self.twoTurns, template: chatML))
  }

  /// Parts as LLaMA-Factory writes them, with reasoning and calls.
  @Test func partsMayHaveValues() throws {
    let row = #"""
      {"messages": [{"role": "user", "content": [{"type": "text", "value": "Hi"}]}, \#
      {"role": "assistant", "content": [{"type": "reasoning", "value": "hm"}, \#
      {"type": "tool_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, \#
      {"type": "text", "value": "ab"}]}]}
      """#
    let template = """
      {% for m in messages %}<|im_start|>{{ m.reasoning_content or '' }}\
      {{ m.tool_calls[0].function.name if m.tool_calls }}{{ m.content }}<|im_end|>\n{% endfor %}
      """
    #expect(
      try marked(row, template: template, trainOn: .all)
        == "<|im_start|>[Hi<|im_end|>\n<|im_start|>hmfab<|im_end|>\n]")
  }

  @Test func templatesThatReadPartsGetThem() throws {
    let counting = Self.readingParts.replacing(
      "{{ part.text }}", with: "({{ loop.index }}){{ part.text }}")
    #expect(
      try marked(Self.inParts, template: counting).hasPrefix("<|im_start|>user\n(1)H(2)i<|im_end|>")
    )
  }

  @Test(arguments: [
    (
      #"{"type": "image_url", "image_url": {"url": "x"}}"#,
      "messages[0].content[1] has the type \"image_url\", but only text is trained"
    ),
    (#"{"text": "x"}"#, "messages[0].content[1] has the type \"none\", but only text is trained"),
    (#"{"type": "text"}"#, "messages[0].content[1] has no \"text\" that is a text"),
    ("7", "messages[0].content[1] has the type \"none\", but only text is trained"),
  ])
  func otherPartsAreNamed(_ part: String, _ message: String) {
    let row = """
      {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, \(part)]}, \
      {"role": "assistant", "content": "b"}]}
      """
    #expect(failure(row).hasPrefix("d.jsonl:1: \(message)"), "\(failure(row))")
  }
}
