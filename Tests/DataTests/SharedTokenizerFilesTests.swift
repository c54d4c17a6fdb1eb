import Data
import Support
import Testing

/// Every reference file of a tokenizer belongs to a test, or it is said here why it does not.
@Suite(.enabled(if: SharedData.isPresent, Comment(rawValue: SharedData.absence)))
struct SharedTokenizerFilesTests {
  /// Files and folders, and the test that compares with them.
  static let claimed: [(path: String, test: String)] = [
    ("gpt2/encoder.json", "GoldenTokenizerTests"), ("gpt2/vocab.bpe", "GoldenTokenizerTests"),
    ("hf-test-vectors/gpt2.vectors.json", "GoldenTokenizerTests.transformersVectors"),
    ("hf-test-vectors/llama.vectors.json", "GoldenTokenizerTests.transformersVectors"),
    ("hf-test-vectors/qwen2.vectors.json", "GoldenTokenizerTests.transformersVectors"),
    ("hf-test-vectors/jinja_chat_templates.vectors.json", "JinjaTests"),
    ("llama.cpp-vocab/", "GoldenTokenizerTests.llamaCppVectors"),
    ("llama2-sentencepiece/tokenizer.json", "GoldenTokenizerTests"),
    ("llama2-sentencepiece/tokenizer.model", "GoldenTokenizerTests"),
    ("llama2-sentencepiece/tokenizer.llama2c.bin", "pieces"),
    ("llama2-sentencepiece/tokenizer_config.json", "configurations"),
    ("llama2-sentencepiece/tokenizer_config.llama2-7b.json", "configurations"),
    ("llama2-sentencepiece/special_tokens_map.json", "configurations"),
    ("llama2-sentencepiece/special_tokens_map.llama2-7b.json", "configurations"),
    ("llama3-tiktoken/tokenizer.model", "GoldenTokenizerTests"),
    ("mistral-common/chat_templates/", "MistralTests.templatesWriteWhatJinjaWrites"),
    ("mistral-common/samples/", "MistralTests"),
    ("mistral-common/tokenizer.model.v1", "MistralTests"),
    ("mistral-common/mistral_instruct_tokenizer_240216.model.v2", "MistralTests"),
    ("mistral-common/mistral_instruct_tokenizer_240323.model.v3", "MistralTests"),
    ("mistral-common/mistral_instruct_tokenizer_241114.model.v7", "MistralTests"),
    ("mistral-hf-v0.1/tokenizer.json", "GoldenTokenizerTests"),
    ("mistral-hf-v0.1/tokenizer.newmerges.json", "GoldenTokenizerTests"),
    ("mistral-hf-v0.1/tokenizer.model", "configurations"),
    ("mistral-hf-v0.1/tokenizer_config.json", "configurations"),
    ("mistral-hf-v0.1/tokenizer_config.newmerges.json", "configurations"),
    ("mistral-hf-v0.1/special_tokens_map.json", "configurations"),
    ("mistral-hf-v0.3/tokenizer.json", "MistralTests"),
    ("mistral-hf-v0.3/tokenizer_config.json", "MistralTests"),
    ("mistral-hf-v0.3/special_tokens_map.json", "MistralTests"),
    ("qwen2/vocab.json", "GoldenTokenizerTests"), ("qwen2/merges.txt", "GoldenTokenizerTests"),
    ("qwen2/tokenizer_config.json", "GoldenTokenizerTests"),
    ("qwen2/special_tokens_map.json", "qwenDirectory"), ("qwen2/config.json", "qwenDirectory"),
  ]

  /// Where files came from, and their licences.
  static let papers = ["PROVENANCE.txt", "LICENSE", "LICENCE"]

  @Test func noFileIsLeftUnused() throws {
    var found: [String] = []
    func walk(_ folder: String) throws {
      for name in try FileSystem.list(SharedData.path("data/tokenizers/" + folder)) {
        let path = folder.isEmpty ? name : "\(folder)/\(name)"
        if FileSystem.isDirectory(SharedData.path("data/tokenizers/" + path)) {
          try walk(path)
        } else {
          found.append(path)
        }
      }
    }
    try walk("")
    #expect(found.count > 90)
    for path in found {
      let name = String(path.split(separator: "/").last ?? "")
      if Self.papers.contains(where: { name.hasPrefix($0) }) { continue }
      #expect(
        Self.claimed.contains {
          path == $0.path || ($0.path.hasSuffix("/") && path.hasPrefix($0.path))
        },
        "no test compares with \(path)")
    }
    for (path, _) in Self.claimed {
      #expect(found.contains { $0 == path || $0.hasPrefix(path) }, "\(path) is gone")
    }
  }

  /// Of nine tokenizers the vocabulary is not there; all other vectors are compared.
  @Test func noVectorIsLeftUnused() throws {
    var names: [String] = []
    for file in ["gpt2", "llama", "qwen2"] {
      let document = try FileSystem.readJSON(
        SharedData.path("data/tokenizers/hf-test-vectors/\(file).vectors.json"))
      names += (document.objectValue?.members ?? []).map(\.name)
    }
    #expect(Set(names).isSuperset(of: GoldenTokenizerTests.vectorNames))
    #expect(names.count == Set(GoldenTokenizerTests.vectorNames).count + 9)
  }

  /// The same pieces and scores in llama2.c's file.
  @Test func pieces() throws {
    let folder = "data/tokenizers/llama2-sentencepiece/"
    let model = try SentencePieceModel(
      FileSystem.readBytes(SharedData.path(folder + "tokenizer.model")), path: "m")
    let bytes = try FileSystem.readBytes(SharedData.path(folder + "tokenizer.llama2c.bin"))
    func number(_ start: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[start + $1]) << UInt32(8 * $1) }
    }
    var position = 4
    for (id, piece) in model.pieces.enumerated() {
      let count = Int(number(position + 4))
      let text = String(decoding: bytes[position + 8..<position + 8 + count], as: UTF8.self)
      #expect(Float(bitPattern: number(position)) == piece.score)
      // The two tokens around a sequence have line ends there.
      if id > 2 { #expect(text.isExactly(piece.text.replacing("\u{2581}", with: " "))) }
      position += 8 + count
    }
    #expect(position == bytes.count)
  }

  /// Whole directories, with every file that settles how a tokenizer is used.
  @Test(arguments: [
    (
      "llama2-sentencepiece", ["tokenizer_config.json", "special_tokens_map.json"], "tokenizer.json"
    ),
    (
      "llama2-sentencepiece",
      ["tokenizer_config.llama2-7b.json", "special_tokens_map.llama2-7b.json"], "tokenizer.model"
    ),
    ("mistral-hf-v0.1", ["tokenizer_config.json", "special_tokens_map.json"], "tokenizer.json"),
    ("mistral-hf-v0.1", ["tokenizer_config.json", "special_tokens_map.json"], "tokenizer.model"),
    ("mistral-hf-v0.1", ["tokenizer_config.newmerges.json"], "tokenizer.newmerges.json"),
  ])
  func configurations(_ folder: String, _ files: [String], _ model: String) throws {
    let directory = try TemporaryDirectory()
    for file in files + [model] {
      let name =
        file.replacing(".llama2-7b", with: "").replacing(".newmerges", with: "")
      try directory.write(
        name, FileSystem.readBytes(SharedData.path("data/tokenizers/\(folder)/\(file)")))
    }
    let loaded = try TokenizerFactory.load(directory: directory.path)
    let tokenizer = loaded.tokenizer
    #expect(tokenizer.bosID == 1 && tokenizer.eosID == 2 && loaded.listedSize == 32000)
    // One directory names a token for padding that is no piece: it follows all others.
    let hasPadding = files.contains { $0.contains("llama2-7b") }
    #expect(tokenizer.vocabularySize == (hasPadding ? 32001 : 32000))
    let bounded = try loaded.bounded(by: 32000).tokenizer
    #expect(try bounded.encode("x", isContinuation: true).count == 1)
    if hasPadding {
      #expect(throws: UserError.self) { try bounded.encode("x[PAD]", isContinuation: true) }
    }
    #expect(loaded.prefixIDs == [1] && loaded.suffixIDs == [])
    #expect(try tokenizer.encode("<s>", isContinuation: true) == [1])
    #expect(try tokenizer.encode("</s>", isContinuation: true) == [2])
    #expect(tokenizer.decode([1, 2]) == "")
  }

  @Test func qwenDirectory() throws {
    let names = ["vocab.json", "merges.txt", "config.json"]
    let settings = ["tokenizer_config.json", "special_tokens_map.json"]
    for files in [names, names + settings] {
      let directory = try GoldenTokenizerTests.directory(files.map { "qwen2/" + $0 })
      let loaded = try TokenizerFactory.load(directory: directory.path)
      #expect(try loaded.tokenizer.encode("Hello 123", isContinuation: false).count == 5)
    }
  }
}
