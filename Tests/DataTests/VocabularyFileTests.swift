import Data
import Support
import Testing

/// Tokenizers that are no `tokenizer.json`: tiktoken files, vocabularies with merges.
@Suite struct VocabularyFileTests {
  static let pairs = ["ab", "abc", " a", "bc", "\n\n"]

  /// Base64 of few bytes.
  static func base64(_ bytes: [UInt8]) -> String {
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let part = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for index in 0..<3 { bits = bits << 8 | UInt32(index < part.count ? part[start + index] : 0) }
      for index in 0..<4 {
        text.append(index <= part.count ? letters[Int(bits >> UInt32(18 - 6 * index) & 63)] : "=")
      }
    }
    return text
  }

  static var ranks: [[UInt8]] { (0...255).map { [$0] } + pairs.map { Array($0.utf8) } }

  static func tiktoken(_ ranks: [[UInt8]]) -> String {
    ranks.enumerated().map { "\(base64($1)) \($0)\n" }.joined()
  }

  static let config = """
    {"added_tokens_decoder": {"300": {"content": "<|end|>", "special": true}}, "eos_token": "<|end|>"}
    """

  @Test func tiktokenMergesByRank() throws {
    let directory = try TemporaryDirectory()
    try directory.write("tokenizer.model", Self.tiktoken(Self.ranks))
    try directory.write("tokenizer_config.json", Self.config)
    let loaded = try TokenizerFactory.load(directory: directory.path)
    let tokenizer = loaded.tokenizer
    #expect(tokenizer.vocabularySize == 301 && tokenizer.eosID == 300)
    func ids(_ text: String) throws -> [Int32] { try tokenizer.encode(text, isContinuation: false) }
    // The lowest rank first: ab before bc; a whole word that is a token is that token.
    #expect(try ids("abc") == [257])
    #expect(try ids("abcab") == [257, 256])
    #expect(try ids("bcb") == [259, 98])
    #expect(try ids("x a<|end|>\n\n") == [120, 258, 300, 260])
    #expect(try ids("\u{E9}") == [0xC3, 0xA9])
    #expect(tokenizer.decode([257, 300, 0xC3, 0xA9]).isExactly("abc\u{E9}"))
    #expect(tokenizer.decode([0xC3, 300, 97], keepsSpecialTokens: true) == "\u{FFFD}<|end|>a")
    #expect(loaded.prefixIDs == [] && loaded.suffixIDs == [])
  }

  @Test func brokenTiktokenFilesAreRefused() throws {
    func message(_ text: String, config: String? = Self.config) throws -> String {
      let directory = try TemporaryDirectory()
      try directory.write("tokenizer.model", text)
      if let config { try directory.write("tokenizer_config.json", config) }
      let error = #expect(throws: UserError.self) {
        try TokenizerFactory.load(directory: directory.path)
      }
      return error?.description ?? ""
    }
    func expect(_ text: String, config: String? = Self.config, says part: String) throws {
      let text = try message(text, config: config)
      #expect(text.contains(part), "\(text)")
    }
    let good = Self.tiktoken(Self.ranks)
    try expect(good + "YQ 261\n", says: "tokenizer.model:262: the line is not")
    try expect(good + "eHg= 7\n", says: "tokenizer.model:262: the rank is 7")
    try expect(good + "YQ== 261\n", says: "twice")
    try expect(
      Self.tiktoken(Array(Self.ranks.dropFirst())), says: "the byte 0 has no token")
    try expect(good, config: nil, says: "a file of 261 ranks")
    let taken = Self.config.replacing("\"300\"", with: "\"3\"")
    try expect(good, config: taken, says: "the id 3 belongs to")
  }

  static func vocabulary() -> (vocabulary: String, merges: String) {
    var ids = JSONObject()
    // Visible bytes stand for themselves; the space is written as U+0120.
    let tokens =
      (0x21...0x7E).map { String(Unicode.Scalar(UInt8($0))) }
      + ["\u{120}", "\u{10A}", "ab", "abc", "\u{120}a", "<|endoftext|>"]
    for (id, token) in tokens.enumerated() { ids[token] = .integer(id) }
    return (JSONValue.object(ids).compactText, "#version: 0.2\na b\nab c\n\u{120} a\n")
  }

  @Test(arguments: [
    ("vocab.json", "merges.txt", "tokenizer_config.json", #"{"tokenizer_class": "GPT2Tokenizer"}"#),
    ("vocab.json", "merges.txt", "config.json", #"{"model_type": "qwen2"}"#),
    ("encoder.json", "vocab.bpe", "special_tokens_map.json", "{}"),
  ])
  func vocabularyWithMerges(
    _ vocabularyName: String, _ mergesName: String, _ otherName: String, _ other: String
  ) throws {
    let directory = try TemporaryDirectory()
    let (vocabulary, merges) = Self.vocabulary()
    try directory.write(vocabularyName, vocabulary)
    try directory.write(mergesName, merges)
    try directory.write(otherName, other)
    let loaded = try TokenizerFactory.load(directory: directory.path)
    let ids = try loaded.tokenizer.encode("abc ab<|endoftext|>", isContinuation: false)
    // The merge of a and b comes before that of the space and a.
    #expect(ids == [97, 94, 96, 99])
    #expect(loaded.tokenizer.eosID == 99)
    #expect(loaded.tokenizer.decode(ids) == "abc ab")
    #expect(Set(loaded.fileNames).isSuperset(of: [vocabularyName, mergesName]))
  }

  @Test func aVocabularyOfAnUnknownKindIsRefused() throws {
    let directory = try TemporaryDirectory()
    let (vocabulary, merges) = Self.vocabulary()
    try directory.write("vocab.json", vocabulary)
    try directory.write("merges.txt", merges)
    let error = #expect(throws: UserError.self) {
      try TokenizerFactory.load(directory: directory.path)
    }
    #expect(
      error?.description.contains("neither tokenizer_config.json nor config.json says") == true)
    try directory.write("config.json", #"{"model_type": "gpt2"}"#)
    try directory.write("merges.txt", "a b c\n")
    let merge = #expect(throws: UserError.self) {
      try TokenizerFactory.load(directory: directory.path)
    }
    #expect(merge?.description.contains("merge 0 is not a pair") == true)
  }
}
