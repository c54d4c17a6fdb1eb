import Data
import Support
import Testing

/// Directories with a sentencepiece model alone, against what transformers' LlamaTokenizer gave for
/// them (scripts/make-llama-tokenizer-fixtures.py).
@Suite struct LlamaTokenizerTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var model: SentencePieceFixture
    var files: [(name: String, value: JSONValue)]
    var rows: [JSONValue]
    var size: Int
    var testDescription: String { name }

    func load() throws -> LoadedTokenizer {
      let directory = try TemporaryDirectory()
      try directory.write("tokenizer.model", model.bytes)
      for (name, value) in files { try directory.write(name, value.compactText) }
      return try TokenizerFactory.load(directory: directory.path)
    }
  }

  static let path =
    FileSystem.parent(of: FileSystem.parent(of: #filePath)) + "/Fixtures/llama-tokenizers.json"

  static let cases: [Case] = {
    guard let file = try? FileSystem.readJSON(path) else { return [] }
    return (file["cases"]?.arrayValue ?? []).compactMap { entry in
      guard let name = entry["name"]?.stringValue, let rows = entry["rows"]?.arrayValue,
        let files = entry["files"]?.objectValue?.members, let size = entry["size"]?.intValue,
        let kind = entry["model"]?.stringValue, let model = file["models"]?[kind],
        let fixture = fixture(model)
      else { return nil }
      return Case(
        name: name, model: fixture, files: files.map { ($0.name, $0.value) }, rows: rows,
        size: size)
    }
  }()

  static func fixture(_ model: JSONValue) -> SentencePieceFixture? {
    guard let pieces = model["pieces"]?.arrayValue else { return nil }
    var fixture = SentencePieceFixture()
    fixture.pieces = pieces.compactMap { piece in
      guard let parts = piece.arrayValue, let text = parts[0].stringValue,
        let score = parts[1].doubleValue, let kind = parts[2].intValue
      else { return nil }
      return (text, Float(score), UInt64(kind))
    }
    fixture.hasByteFallback = model["byteFallback"] == true
    fixture.normalizer = [(4, model["extraSpaces"] == true ? 1 : 0)]
    return fixture
  }

  @Test func allAreThere() { #expect(Self.cases.count == 12) }

  @Test(arguments: cases) func equalsTheLibrary(_ entry: Case) throws {
    let loaded = try entry.load()
    #expect(loaded.tokenizer.vocabularySize == entry.size)
    #expect(entry.rows.count > 80)
    for row in entry.rows {
      let parts = try #require(row.arrayValue)
      let text = try #require(parts[0].stringValue)
      let ids = try #require(parts[1].arrayValue).compactMap(\.intValue).map { Int32($0) }
      let own = try loaded.tokenizer.encode(text, isContinuation: false)
      #expect(loaded.prefixIDs + own + loaded.suffixIDs == ids, "\(text.debugDescription)")
      let plain = try #require(parts[2].stringValue)
      let decoded = loaded.tokenizer.decode(ids)
      #expect(decoded.isExactly(plain), "\(text.debugDescription): \(decoded.debugDescription)")
      let whole = try #require(parts[3].stringValue)
      let kept = loaded.tokenizer.decode(ids, keepsSpecialTokens: true)
      #expect(kept.isExactly(whole), "\(text.debugDescription): \(kept.debugDescription)")
    }
  }

  /// A text that continues another gets no space, and a token at its beginning takes none away.
  @Test(arguments: ["plain-True", "plain-False"])
  func continuations(_ name: String) throws {
    let tokenizer = try #require(Self.cases.first { $0.name == name }).load().tokenizer
    for text in ["hello", " hello", "  the", "hello</s>", " </s>", "a b c"] {
      let ids = try tokenizer.encode(text, isContinuation: true)
      #expect(ids.contains(2) == text.contains("</s>"))
      let expected = text.replacing("</s>", with: "")
      #expect(tokenizer.decodeContinuation(ids).isExactly(expected), "\(text.debugDescription)")
    }
    #expect(tokenizer.continuationBytes(of: 2) == [])
  }

  @Test func tokensThatAreNoneAreRefused() throws {
    let model = try #require(Self.cases.first).model
    for (name, text, message) in [
      ("added_tokens.json", #"{"<x>": "7"}"#, "the id of \"<x>\" is a string, not a whole number"),
      ("tokenizer_config.json", #"{"pad_token": {"content": ""}}"#, "the added token 0 has no"),
      (
        "tokenizer_config.json", #"{"added_tokens_decoder": {"x": {"content": "<x>"}}}"#,
        "added_tokens_decoder has the id \"x\", which is no number"
      ),
    ] {
      let directory = try TemporaryDirectory()
      try directory.write("tokenizer.model", model.bytes)
      try directory.write(name, text)
      let error = #expect(throws: UserError.self) {
        _ = try TokenizerFactory.load(directory: directory.path)
      }
      #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "")")
    }
  }

  /// A token that no file gives an id may lie beyond the embedding as long as no text has it.
  @Test func tokensBeyondTheEmbeddingAreNamed() throws {
    let directory = try TemporaryDirectory()
    try directory.write("tokenizer.model", try #require(Self.cases.first).model.bytes)
    let size = try TokenizerFactory.load(directory: directory.path).tokenizer.vocabularySize
    try directory.write("special_tokens_map.json", #"{"pad_token": "<pad>"}"#)
    let loaded = try TokenizerFactory.load(directory: directory.path)
    #expect(loaded.tokenizer.vocabularySize == size + 1 && loaded.listedSize == size)
    let bounded = try loaded.bounded(by: size).tokenizer
    #expect(try bounded.encode("hello", isContinuation: false).isEmpty == false)
    let error = #expect(throws: UserError.self) {
      try bounded.encode("hello<pad>", isContinuation: false)
    }
    #expect(
      error?.message.hasPrefix(
        "the text has the token <pad>, whose id \(size) lies beyond the model's vocabulary of")
        == true)
    #expect(throws: UserError.self) { try loaded.bounded(by: size - 1) }
    for (name, text) in [
      ("special_tokens_map.json", #"{"eos_token": "<end>"}"#),
      ("added_tokens.json", #"{"<x>": \#(size)}"#),
    ] {
      try directory.write(name, text)
      let loaded = try TokenizerFactory.load(directory: directory.path)
      #expect(throws: UserError.self) { try loaded.bounded(by: size) }
    }
  }

  @Test func olderDirectoriesListAddedTokensInAFile() throws {
    let directory = try TemporaryDirectory()
    try directory.write("tokenizer.model", try #require(Self.cases.first).model.bytes)
    try directory.write("added_tokens.json", #"{"<|x|>": 700}"#)
    let tokenizer = try TokenizerFactory.load(directory: directory.path).tokenizer
    #expect(try tokenizer.encode("<|x|><s>", isContinuation: true) == [700, 1])
    #expect(tokenizer.vocabularySize == 701)
    #expect(tokenizer.decode([700]) == "<|x|>")
  }
}
