import Data
import Support
import Testing

/// Mistral's whole conversations, as its own library tokenizes them.
@Suite(.enabled(if: SharedData.isPresent, Comment(rawValue: SharedData.absence)))
struct MistralTests {
  struct Sample: Sendable, CustomTestStringConvertible {
    var name: String
    var version: String
    var testDescription: String { "\(name) \(version)" }
  }

  static let models = [
    "v1": "tokenizer.model.v1", "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
  ]

  static func path(_ name: String) -> String {
    SharedData.path("data/tokenizers/mistral-common/" + name)
  }

  /// Every sample in every version of the tokenizer that there are tokens for.
  static let samples: [Sample] = ((try? FileSystem.list(path("samples"))) ?? []).sorted()
    .flatMap { name in
      ["v1", "v2", "v3"].map { Sample(name: name, version: $0) }
        .filter { FileSystem.exists(path("samples/\(name)/tokens_\($0.version).json")) }
    }

  @Test func allAreThere() { #expect(Self.samples.count == 13) }

  /// A directory with one of the models, whose control tokens are recognised in text.
  static func tokenizer(_ version: String) throws -> any Tokenizer {
    let bytes = try FileSystem.readBytes(path(models[version] ?? ""))
    let names = try SentencePieceModel(bytes, path: version).pieces
      .filter { $0.kind == .control }.map(\.text)
    let directory = try TemporaryDirectory()
    try directory.write("tokenizer.model", bytes)
    let config: JSONValue = [
      "legacy": false, "bos_token": "<s>", "eos_token": "</s>",
      "additional_special_tokens": .array(names.map { .string($0) }),
    ]
    try directory.write("tokenizer_config.json", config.compactText)
    return try TokenizerFactory.load(directory: directory.path).tokenizer
  }

  static func tokens(_ sample: Sample) throws -> [Int32] {
    let file = try FileSystem.readJSON(
      path("samples/\(sample.name)/tokens_\(sample.version).json"))
    return try GoldenTokenizerTests.ids(file["tokens"])
  }

  /// The text as the library shows it, whose spaces and line ends are visible.
  static func text(_ sample: Sample) throws -> String {
    try FileSystem.readText(path("samples/\(sample.name)/text_\(sample.version).txt"))
      .replacing("\u{2581}", with: " ").replacing("<0x0A>", with: "\n")
  }

  @Test(arguments: samples) func conversationsEqualTheLibrary(_ sample: Sample) throws {
    let tokenizer = try Self.tokenizer(sample.version)
    let ids = try Self.tokens(sample)
    #expect(ids.count > 90)
    #expect(try tokenizer.encode(Self.text(sample), isContinuation: false) == ids)
    let decoded = tokenizer.decode(ids, keepsSpecialTokens: true)
    #expect(decoded.isExactly(try Self.text(sample)))
  }

  /// The template of a version writes the text that the library tokenizes. The others differ before
  /// they are tokenized: the library parses arguments and results of functions that are JSON, and
  /// its second version joins the results of parallel calls.
  @Test(arguments: samples) func templatesGiveTheTokens(_ sample: Sample) throws {
    let template = try ChatTemplate(
      FileSystem.readText(Self.path("chat_templates/\(sample.version)_spm.jinja")),
      path: sample.version, constants: [("bos_token", "<s>"), ("eos_token", "</s>")])
    let data = try FileSystem.readJSON(Self.path("samples/\(sample.name)/sample.json"))
    let tools = data["tools"].flatMap { $0.arrayValue?.isEmpty == false ? $0 : nil } ?? .null
    let text = try template.render([
      ("messages", try #require(data["messages"])), ("tools", tools),
      ("add_generation_prompt", false),
    ]).text
    let ids = try Self.tokenizer(sample.version).encode(text, isContinuation: false)
    let isSame = try ids == Self.tokens(sample)
    let differs =
      sample.name.hasPrefix("get_weather")
      || (sample.name == "parallel_calls" && sample.version == "v2")
    #expect(isSame != differs)
  }

  /// The same conversations by `tokenizer.json` of the third version.
  @Test(arguments: samples.filter { $0.version == "v3" })
  func tokenizerJSONGivesTheTokens(_ sample: Sample) throws {
    let directory = try GoldenTokenizerTests.directory([
      "mistral-hf-v0.3/tokenizer.json", "mistral-hf-v0.3/tokenizer_config.json",
      "mistral-hf-v0.3/special_tokens_map.json",
    ])
    let loaded = try TokenizerFactory.load(directory: directory.path)
    let text = try Self.text(sample)
    #expect(try loaded.tokenizer.encode(text, isContinuation: false) == Self.tokens(sample))
    let template = try ChatTemplates.load(directory: directory.path)
    #expect(template.path.hasSuffix("tokenizer_config.json"))
  }

  /// The seventh version has the pieces of the third and other control tokens.
  @Test func theSeventhVersionHasThePiecesOfTheThird() throws {
    let (third, seventh) = (try Self.tokenizer("v3"), try Self.tokenizer("v7"))
    #expect(third.vocabularySize == 32768 && seventh.vocabularySize == 32768)
    for sample in Self.samples where sample.version == "v3" {
      let text = try Self.text(sample).replacing("[", with: "(")
      #expect(
        try third.encode(text, isContinuation: false)
          == seventh.encode(text, isContinuation: false))
    }
    #expect(try seventh.encode("[SYSTEM_PROMPT]", isContinuation: true).count == 1)
    #expect(try third.encode("[SYSTEM_PROMPT]", isContinuation: true).count > 1)
  }

  /// What jinja2 makes of the same (scripts/make-mistral-fixtures.py).
  @Test func templatesWriteWhatJinjaWrites() throws {
    let path =
      FileSystem.parent(of: FileSystem.parent(of: #filePath)) + "/Fixtures/mistral-renderings.json"
    let fixture = try #require(try FileSystem.readJSON(path).objectValue)
    let names = try FileSystem.list(Self.path("chat_templates")).sorted()
    #expect(names == fixture.members.map(\.name).sorted() && names.count == 14)
    for (name, digests) in fixture.members {
      let template = try ChatTemplate(
        FileSystem.readText(Self.path("chat_templates/\(name)")), path: name,
        constants: [("bos_token", "<s>"), ("eos_token", "</s>")])
      for (key, digest) in try #require(digests.objectValue).members {
        let sample = key.replacing("+prompt", with: "")
        let data = try FileSystem.readJSON(Self.path("samples/\(sample)/sample.json"))
        let tools = data["tools"].flatMap { $0.arrayValue?.isEmpty == false ? $0 : nil } ?? .null
        let text = try? template.render([
          ("messages", try #require(data["messages"])), ("tools", tools),
          ("add_generation_prompt", .bool(key != sample)),
        ]).bytes
        #expect(text.map(SHA256.hexadecimal) == digest.stringValue, "\(name) \(key)")
      }
    }
  }
}
