import Data
import Support
import Testing

/// Every string of the reference vectors, for every tokenizer file that they were made with.
@Suite(.enabled(if: SharedData.isPresent, Comment(rawValue: SharedData.absence)))
struct GoldenTokenizerTests {
  /// Loads one file alone, whatever lies beside it: a sentencepiece model as its own library does.
  static func tokenizer(_ file: String) throws -> any Tokenizer {
    if file.contains(".model") {
      let path = SharedData.path("data/tokenizers/" + file)
      return try SentencePieceTokenizer(
        SentencePieceModel(try FileSystem.readBytes(path), path: path), path: path)
    }
    let directory = try TemporaryDirectory()
    try directory.write(
      "tokenizer.json",
      try FileSystem.readBytes(SharedData.path("data/tokenizers/" + file)))
    return try TokenizerFactory.load(directory: directory.path).tokenizer
  }

  static func ids(_ value: JSONValue?) throws -> [Int32] {
    try #require(value?.arrayValue).map { Int32(try #require($0.intValue)) }
  }

  @Test(arguments: ["llama2-hf", "llama2-sp", "mistral-v0.1-hf"])
  func stringsEqualTheReference(_ name: String) throws {
    let reference = try FileSystem.readJSON(SharedData.path("reference/tokenizers/\(name).json"))
    let file = try #require(reference["path"]?.stringValue).dropFirst("data/tokenizers/".count)
    let tokenizer = try Self.tokenizer(String(file))
    #expect(tokenizer.vocabularySize == reference["vocab_size"]?.intValue)
    let rows = try #require(reference["rows"]?.arrayValue)
    #expect(rows.count == 374)
    for row in rows {
      let text = try #require(row["text"]?.stringValue)
      let ids = try Self.ids(row["ids"])
      #expect(try tokenizer.encode(text, isContinuation: false) == ids, "\(text)")
      let decoded = try #require(row["decoded_skip"]?.stringValue)
      #expect(tokenizer.decode(ids).isExactly(decoded), "\(text): \(tokenizer.decode(ids))")
    }
  }

  /// A text that continues another comes out as it went in, its leading spaces included.
  @Test(arguments: ["llama2-hf", "llama2-sp", "mistral-v0.1-hf"])
  func continuationsComeOutExactly(_ name: String) throws {
    let reference = try FileSystem.readJSON(SharedData.path("reference/tokenizers/\(name).json"))
    let file = try #require(reference["path"]?.stringValue).dropFirst("data/tokenizers/".count)
    let tokenizer = try Self.tokenizer(String(file))
    var count = 0
    for row in try #require(reference["rows"]?.arrayValue) {
      let text = try #require(row["text"]?.stringValue)
      // The visible space decodes to a space, and special tokens to nothing.
      if text.unicodeScalars.contains("\u{2581}") || row["decoded"] != row["decoded_skip"] {
        continue
      }
      let ids = try tokenizer.encode(text, isContinuation: true)
      #expect(tokenizer.decodeContinuation(ids).isExactly(text))
      count += 1
    }
    #expect(count > 300)
  }

  /// A directory with copies of some files.
  static func directory(_ files: [String]) throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    for file in files {
      let name = String(file.split(separator: "/").last ?? "")
      try directory.write(
        name, try FileSystem.readBytes(SharedData.path("data/tokenizers/" + file)))
    }
    return directory
  }

  static let llama2JSON = ["llama2-sentencepiece/tokenizer.json"]
  static let llama2Model = ["llama2-sentencepiece/tokenizer.model"]
  static let llama3 = ["llama3-tiktoken/tokenizer.model"]
  static let gpt2 = ["gpt2/encoder.json", "gpt2/vocab.bpe"]
  static let qwen2 = ["qwen2/vocab.json", "qwen2/merges.txt", "qwen2/tokenizer_config.json"]

  @Test(arguments: [
    ("llama-spm", llama2JSON), ("llama-spm", llama2Model), ("gpt-2", gpt2), ("llama-bpe", llama3),
  ])
  func llamaCppVectors(_ name: String, _ files: [String]) throws {
    let base = "data/tokenizers/llama.cpp-vocab/ggml-vocab-\(name).gguf"
    let separator = Array("\n__ggml_vocab_test__\n".utf8)
    let texts = try FileSystem.readBytes(SharedData.path(base + ".inp"))
      .split(separator: separator, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    let lines = try FileSystem.readText(SharedData.path(base + ".out"))
      .split(separator: "\n", omittingEmptySubsequences: false)
    try #require(texts.count == 47 && texts.count == lines.count)
    let directory = try Self.directory(files)
    let tokenizer = try TokenizerFactory.load(directory: directory.path).tokenizer
    for (text, line) in zip(texts, lines) {
      let ids = line.split(separator: " ").compactMap { Int32($0) }
      #expect(try tokenizer.encode(text, isContinuation: false) == ids, "\(text)")
    }
  }

  static let vectors = [
    ("llama", "Xenova/llama-tokenizer", llama2JSON), ("gpt2", "Xenova/gpt2", gpt2),
    ("llama", "Xenova/llama3-tokenizer", llama3), ("llama", "Xenova/llama3-tokenizer-new", llama3),
    ("gpt2", "openai-community/gpt2", gpt2), ("qwen2", "Xenova/Qwen1.5-0.5B-Chat", qwen2),
  ]
  static let vectorNames = vectors.map(\.1)

  @Test(arguments: vectors)
  func transformersVectors(_ file: String, _ name: String, _ files: [String]) throws {
    let document = try FileSystem.readJSON(
      SharedData.path("data/tokenizers/hf-test-vectors/\(file).vectors.json"))
    let directory = try Self.directory(files)
    let loaded = try TokenizerFactory.load(directory: directory.path)
    let cases = try #require(document[name]?.objectValue)
    #expect(cases.count > 10)
    for (title, row) in cases.members {
      let text = try #require(row["text"]?.stringValue)
      let ids = try Self.ids(row["ids"])
      let own = try loaded.tokenizer.encode(text, isContinuation: false)
      // Llama 3's first tokenizer.json did not put the token that begins texts before them.
      let prefixIDs = name == "Xenova/llama3-tokenizer" ? [] : loaded.prefixIDs
      #expect(prefixIDs + own + loaded.suffixIDs == ids, "\(title): \(text)")
    }
  }

  /// The same vocabulary in three files: what is encoded must not depend on how merges are written.
  @Test func oldAndNewMergesAreEqual() throws {
    let old = try Self.tokenizer("mistral-hf-v0.1/tokenizer.json")
    let new = try Self.tokenizer("mistral-hf-v0.1/tokenizer.newmerges.json")
    let reference = try FileSystem.readJSON(
      SharedData.path("reference/tokenizers/mistral-v0.1-hf.json"))
    for row in try #require(reference["rows"]?.arrayValue) {
      let text = try #require(row["text"]?.stringValue)
      #expect(
        try old.encode(text, isContinuation: false) == new.encode(text, isContinuation: false))
    }
  }
}
