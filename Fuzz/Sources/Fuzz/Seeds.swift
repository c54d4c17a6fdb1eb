import Data
import Support

/// What the fuzzer starts from: small files of each kind, most of them made from the fixtures of the
/// tests.
struct Seeds {
  /// Templates and what is rendered with them.
  let jinja: JSONValue
  private let tokenizers: JSONValue

  init() throws {
    guard let fixtures = variable("FUZZ_FIXTURES") else {
      throw UserError(.usage, "FUZZ_FIXTURES does not say where the tests' fixtures are")
    }
    jinja = try FileSystem.readJSON("\(fixtures)/jinja-cases.json", limit: 1 << 24)
    tokenizers = try FileSystem.readJSON("\(fixtures)/tokenizers.json", limit: 1 << 24)
  }

  func seeds(of reader: Reader) throws -> [[UInt8]] {
    switch reader {
    case .tokenizerJSON: try tokenizerFiles()
    case .sentencePiece: sentencePieceModels() + [tiktokenFile()]
    case .vocabulary: [vocabularyFiles()]
    case .pattern: patterns()
    case .jsonl: [Array(Self.lines.utf8)] + Self.lines.split(separator: "\n").map { Array($0.utf8) }
    case .csv: Self.tables.map { Array($0.utf8) }
    case .array:
      [Array("[\(Self.lines.split(separator: "\n").joined(separator: ", "))]".utf8)]
        + Self.lines.split(separator: "\n").map { Array("[\($0)\n]".utf8) }
    case .gzip: gzipFiles()
    case .template: templates()
    }
  }

  // MARK: Tokenizers

  /// The fixtures with a few of their tokens, and a text after the zero byte.
  private func tokenizerFiles() throws -> [[UInt8]] {
    (tokenizers["cases"]?.arrayValue ?? []).enumerated().map { number, entry in
      var document = entry["tokenizer"]?.objectValue ?? JSONObject()
      var model = document["model"]?.objectValue ?? JSONObject()
      let source = tokenizers["vocabularies"]?[entry["vocabulary"]?.stringValue ?? ""]
      var vocabulary = JSONObject()
      for (token, id) in (source?["vocab"]?.objectValue?.members ?? []).prefix(
        40)
      {
        vocabulary[token] = id
      }
      let merges = (source?["merges"]?.arrayValue ?? []).filter { merge in
        let pair =
          merge.arrayValue?.compactMap(\.stringValue)
          ?? (merge.stringValue ?? "").split(separator: " ").map(String.init)
        return (pair + [pair.joined()]).allSatisfy { vocabulary[$0] != nil }
      }
      model["vocab"] = .object(vocabulary)
      model["merges"] = .array(merges)
      model["unk_token"] = "<unk>"
      document["model"] = .object(model)
      let text = entry["rows"]?.arrayValue?[number % 30].arrayValue?.first?.stringValue ?? ""
      return Array(JSONValue.object(document).compactText.utf8) + [0] + Array(text.utf8).prefix(200)
    }
  }

  private func sentencePieceModels() -> [[UInt8]] {
    var small = SentencePieceFixture()
    small.add("\u{2581}", "a", "b", "\u{2581}a", "ab", "aa", "aaaa", score: -2)
    small.add("user", score: 0, kind: 4)
    small.add("gone", score: 0, kind: 5)
    var bytes = SentencePieceFixture()
    bytes.addBytes()
    bytes.add("\u{2581}", "a", "t", "\u{2581}t", score: -1.5)
    bytes.normalizer = [(3, 1), (4, 1), (5, 1)]
    var mapped = small
    mapped.charsMap = SentencePieceFixture.charsMap([("\u{FF21}", "A"), ("ab", "b"), ("\t", " ")])
    // Without the many nodes that nothing leads to.
    mapped.charsMap = Array(mapped.charsMap.prefix(3000))
    var denormalized = small
    denormalized.denormalizer = SentencePieceFixture.charsMap([("a", "b")])
    return [small, bytes, mapped, denormalized].map(\.bytes)
  }

  /// All bytes and three tokens of two and three.
  private func tiktokenFile() -> [UInt8] {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    let bytes = (0..<256).map { "\(digits[$0 / 4])\(digits[$0 % 4 * 16])==" }
    let tokens = bytes + ["YWI=", "IGE=", "YWFh"]
    return Array(tokens.enumerated().map { "\($1) \($0)\n" }.joined().utf8)
  }

  private func vocabularyFiles() -> [UInt8] {
    Array(JSONValue.object(ByteLevel.vocabulary).compactText.utf8) + [0]
      + Array("#version: 0.2\na a\naa aa\n\u{120} a\n".utf8)
  }

  private func patterns() -> [[UInt8]] {
    let texts = [
      "We'll 'RE 12345 텍스트\n\n  x\u{301}\r\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa  !",
      "\u{1F600}ß \u{130}",
    ]
    var expressions = [
      #"(a|b)*?c|(?i:'s|'t)|[^\s\p{L}&&[^x]]+|\w{2,5}?\b"#, #"(?<!a)b{0,3}+(?=c|$)|(?>a+)|\Ax\Z"#,
      #"(?:(?:a?){20}){20}|[\x{1F600}-\x{1F64F}]|\h\H\R?"#, #"\p{Han}+|\p{^Lu}|\P{N}|[[:alpha:]]"#,
    ]
    func find(_ value: JSONValue) {
      if let expression = value["Regex"]?.stringValue, !expressions.contains(expression) {
        expressions.append(expression)
      }
      for (_, member) in value.objectValue?.members ?? [] { find(member) }
      for element in value.arrayValue ?? [] { find(element) }
    }
    for entry in tokenizers["cases"]?.arrayValue ?? [] { find(entry["tokenizer"] ?? .null) }
    return expressions.enumerated().map {
      Array($1.utf8) + [0] + Array(texts[$0 % texts.count].utf8)
    }
  }

  // MARK: Data

  /// A row of each form.
  private static let lines = #"""
    {"input": "a", "output": "b"}
    {"prompt": "q\u00e9\ud83d\ude00", "completion": "the answer is long enough to be cut off"}
    {"instruction": "Do", "input": "", "output": "done"}
    {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "text", "text": "y"}]}]}
    {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}], "system": "s", "tools": "[{\"name\": 1}]"}
    {"text": "some text\\ \"of\" more than one word, and then some", "n": [1, -2.5e3, null, true]}
    {"input_ids": [1, 2, 3, 4, 5, 6], "labels": [-100, 2, 3, -100, 5, 6]}
    """#

  private static let tables = [
    "input,output\n\"a \"\"b\"\"\",c\r\n\nd,\"e\nf,g\"\n", "text\nx\n\"\"\n",
    "instruction,input,output\ndo,it,\"a long answer that is cut, I hope\"\n",
    "\u{FEFF}prompt,completion\né,텍스트\n",
  ]

  private func gzipFiles() -> [[UInt8]] {
    let texts = Self.lines.split(separator: "\n").map { Array("\($0)\n".utf8) }
    // With compression, as gzip writes it: three rows that are alike.
    let deflated: [UInt8] = [
      0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0xAB, 0x56, 0x2A, 0x49, 0xAD, 0x28, 0x51, 0xB2, 0x52,
      0x50, 0x4A, 0x54, 0xAA, 0xE5, 0xAA, 0xC6, 0xC3, 3, 0, 0xB5, 0xF1, 0xE1, 0x3F, 0x2A, 0, 0, 0,
    ]
    return texts.enumerated().map { gzip($1, pieceSize: 7 * ($0 + 1)) } + [deflated]
      + Self.tables.map { gzip(Array($0.utf8), pieceSize: 50) }
  }

  // MARK: Templates

  private func templates() -> [[UInt8]] {
    let messages =
      #"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]"#
    let chat = [
      "{{ bos_token }}{% for m in messages %}{{ m.role | upper ~ ': ' ~ m['content'][:1] }}"
        + "{% if not loop.last %}, {% endif %}{% endfor %}",
      "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        + "{{ raise_exception('order') }}{% endif %}[{{ m.role }}]"
        + "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% endfor %}",
      "{%- macro show(t, d=0) -%}{{ t | tojson(indent=2) }}{%- endmacro -%}{{ strftime_now('%d %b %Y') }}"
        + "{% for t in tools %}{{ show(t) }}{% endfor %}",
    ]
    return chat.map { Array($0.utf8) + [0] + Array(messages.utf8) }
      + (jinja["cases"]?.arrayValue ?? []).compactMap { entry in
        entry["template"]?.stringValue.map { Array($0.utf8) }
      }
  }
}
