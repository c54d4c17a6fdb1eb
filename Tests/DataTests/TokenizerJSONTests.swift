import Data
import Support
import Testing

@Suite struct TokenizerJSONTests {
  func encode(_ fixture: TokenizerJSONFixture, _ text: String, _ isContinuation: Bool = false)
    throws -> [Int32]
  {
    try fixture.tokenizer().encode(text, isContinuation: isContinuation)
  }

  @Test func mergesFollowTheirRank() throws {
    let fixture = TokenizerJSONFixture()
    #expect(try encode(fixture, "abc") == [7, 9])
    #expect(try encode(fixture, "ab") == [10])
    #expect(try encode(fixture, "a ab") == [7, 10])
    #expect(try encode(fixture, "") == [])
  }

  @Test func ofEqualMergesTheLeftmostComesFirst() throws {
    var fixture = TokenizerJSONFixture()
    fixture.vocabulary.append("cc")
    fixture.merges.append("c c")
    #expect(try encode(fixture, "ccccc", true) == [11, 11, 6])
  }

  @Test func continuationHasNoPrefix() throws {
    var fixture = TokenizerJSONFixture()
    #expect(try encode(fixture, "ab", true) == [8])
    #expect(try encode(fixture, " ab", true) == [10])
    // Only the beginning continues: after an added token the library prepends again.
    #expect(try encode(fixture, "a</s>a", true) == [4, 2, 7])
    for (scheme, ids) in [("first", [4, 2, 4]), ("always", [4, 2, 7]), ("never", [4, 2, 4])] {
      fixture.useMetaspace(["prepend_scheme": .string(scheme)])
      #expect(try encode(fixture, "a</s>a", true) == ids.map(Int32.init), "\(scheme)")
    }
  }

  @Test func metaspaceSchemes() throws {
    var fixture = TokenizerJSONFixture()
    let expected: [(JSONValue, [Int32])] = [
      (["prepend_scheme": "first"], [7, 2, 4]), (["prepend_scheme": "always"], [7, 2, 7]),
      (["prepend_scheme": "never"], [4, 2, 4]), (["add_prefix_space": true], [7, 2, 7]),
      (["add_prefix_space": false], [4, 2, 4]),
    ]
    for (settings, ids) in expected {
      let members = try #require(settings.objectValue).members.map { ($0.name, $0.value) }
      fixture.useMetaspace(Dictionary(uniqueKeysWithValues: members))
      #expect(try encode(fixture, "a</s>a") == ids, "\(settings)")
    }
    fixture.useMetaspace(["prepend_scheme": "first"])
    #expect(try encode(fixture, " a") == [7], "a text that begins with a space gets no second")
  }

  @Test func splittingKeepsMergesInsideWords() throws {
    var fixture = TokenizerJSONFixture()
    fixture.vocabulary.append("b\u{2581}")
    fixture.merges.insert("b \u{2581}", at: 0)
    fixture.useMetaspace(["prepend_scheme": "never", "split": false])
    #expect(try encode(fixture, "b a") == [11, 4])
    fixture.useMetaspace(["prepend_scheme": "never", "split": true])
    #expect(try encode(fixture, "b a") == [5, 7])
  }

  @Test func bytesAndUnknownTokens() throws {
    var fixture = TokenizerJSONFixture()
    #expect(try encode(fixture, "xyax", true) == [0, 4, 0])
    fixture.model["fuse_unk"] = false
    #expect(try encode(fixture, "xya", true) == [0, 0, 4])
    fixture.addBytes()
    #expect(try encode(fixture, "é", true) == [11 + 0xC3, 11 + 0xA9])
    fixture.model["byte_fallback"] = false
    #expect(try encode(fixture, "é", true) == [0])
    fixture.model["unk_token"] = .null
    #expect(throws: UserError.self) { try encode(fixture, "é", true) }
  }

  @Test func ignoredMergesTakeWholeWords() throws {
    var fixture = TokenizerJSONFixture()
    fixture.vocabulary.append("abc")
    #expect(try encode(fixture, "abc", true) == [4, 9])
    fixture.model["ignore_merges"] = true
    #expect(try encode(fixture, "abc", true) == [11])
  }

  @Test func canonicallyEquivalentTokensDiffer() throws {
    var fixture = TokenizerJSONFixture()
    fixture.vocabulary += ["\u{E9}", "e", "\u{301}", "e\u{301}"]
    fixture.merges.append("e \u{301}")
    #expect(try encode(fixture, "\u{E9}", true) == [11])
    #expect(try encode(fixture, "e\u{301}", true) == [14])
  }

  @Test func addedTokensAreFoundInText() throws {
    var fixture = TokenizerJSONFixture()
    fixture.useMetaspace(["prepend_scheme": "never"])
    fixture.addedTokens += [
      ["id": 11, "content": "[X]"], ["id": 12, "content": "[X]]", "rstrip": true],
      ["id": 13, "content": "[L]", "lstrip": true],
      ["id": 14, "content": "cc", "single_word": true],
    ]
    #expect(try encode(fixture, "a[X]b") == [4, 11, 5])
    #expect(try encode(fixture, "a[X]]  b") == [4, 12, 5], "the longest, with the space after it")
    #expect(try encode(fixture, "a  [L] b") == [4, 13, 3, 5])
    #expect(try encode(fixture, "cc acc") == [14, 7, 6, 6], "a word alone only")
    #expect(try fixture.tokenizer().vocabularySize == 15)
    #expect(
      try fixture.tokenizer().decode([4, 11, 2, 4]) == "a[X]a", "special tokens are left out")
  }

  @Test func decodingIsTheLibrarys() throws {
    var fixture = TokenizerJSONFixture()
    fixture.addBytes()
    let tokenizer = try fixture.tokenizer()
    #expect(tokenizer.decode([1, 7, 10, 2]) == "a ab")
    #expect(tokenizer.decode([3, 7]) == " a")
    #expect(tokenizer.decode([11 + 0xC3, 11 + 0xA9, 4]).isExactly("\u{E9}a"))
    // One byte that is no character spoils its run of byte tokens.
    #expect(tokenizer.decode([11 + 0x41, 11 + 0xC3, 4]).isExactly("\u{FFFD}\u{FFFD}a"))
    #expect(tokenizer.decodeContinuation([7, 11 + 0xC3, 11 + 0xA9]).isExactly(" a\u{E9}"))
    #expect(tokenizer.decode([999, -1, 4]) == "a")
  }

  @Test func streamingHoldsBackUnfinishedCharacters() throws {
    var fixture = TokenizerJSONFixture()
    fixture.addBytes()
    var decoder = StreamingDecoder(try fixture.tokenizer())
    let smile = Array("\u{1F600}".utf8).map { Int32($0) + 11 }
    #expect(decoder.append(7) == " a")
    #expect(smile.dropLast().map { decoder.append($0) } == ["", "", ""])
    #expect(decoder.append(smile[3]).isExactly("\u{1F600}"))
    #expect(decoder.append(smile[0]) == "")
    #expect(decoder.append(4).isExactly("\u{FFFD}a"))
    #expect(decoder.append(smile[0]) == "")
    #expect(decoder.append(2) == "")
    #expect(decoder.finish().isExactly("\u{FFFD}"))
    #expect(decoder.finish() == "")
  }

  /// Overlong forms, surrogates, values over U+10FFFF, bytes that begin nothing.
  @Test(arguments: [
    [0xC0, 0x80], [0xE0, 0x9F, 0xBF], [0xED, 0xA0, 0x80], [0xF0, 0x8F, 0xBF, 0xBF],
    [0xF4, 0x90, 0x80, 0x80], [0x80], [0xFF],
  ])
  func bytesThatAreNoCharacterAreReplacedOneByOne(_ bytes: [Int32]) throws {
    var fixture = TokenizerJSONFixture()
    fixture.addBytes()
    let text = try fixture.tokenizer().decodeContinuation([4] + bytes.map { $0 + 11 } + [4])
    #expect(text.isExactly("a" + String(repeating: "\u{FFFD}", count: bytes.count) + "a"))
  }

  @Test func unsupportedPartsAreNamed() throws {
    func message(_ change: (inout TokenizerJSONFixture) -> Void) throws -> String {
      var fixture = TokenizerJSONFixture()
      change(&fixture)
      let error = #expect(throws: UserError.self) { try fixture.tokenizer() }
      return try #require(error).message
    }
    #expect(
      try message { $0.model["type"] = "Unigram" } == "model type \"Unigram\" is not supported")
    #expect(
      try message { $0.document["pre_tokenizer"] = ["type": "CharDelimiterSplit"] }
        == "pre_tokenizer \"CharDelimiterSplit\" is not supported")
    let steps = [JSONValue](repeating: ["type": "NFC"], count: 65)
    #expect(
      try message {
        $0.document["normalizer"] = ["type": "Sequence", "normalizers": .array(steps)]
      } == "normalizers has more than 64 steps")
    #expect(
      try message { $0.document["normalizer"] = ["type": "Precompiled"] }
        == "normalizer \"Precompiled\" is not supported")
    #expect(
      try message {
        $0.document["decoder"] = ["type": "Replace", "pattern": ["Regex": "x"], "content": ""]
      } == "decoder Replace with a pattern other than a plain text is not supported")
    let pattern = try message {
      $0.document["normalizer"] = [
        "type": "Replace", "pattern": ["Regex": #"(a)\1"#], "content": "",
      ]
    }
    #expect(
      pattern.hasPrefix(#"the pattern of Replace: "\1", which is not supported, at character"#))
    #expect(
      try message { $0.document["decoder"] = ["type": "WordPiece"] }
        == "decoder \"WordPiece\" is not supported")
    #expect(
      try message { $0.document["post_processor"] = ["type": "Other"] }
        == "post_processor \"Other\" is not supported")
    #expect(try message { $0.merges = ["a"] } == "merge 0 is not a pair of tokens")
    #expect(
      try message { $0.merges = ["a z"] }
        == "merge 0, \"a\" with \"z\", has a token outside model.vocab")
    #expect(
      try message { $0.addedTokens = [["id": 4, "content": "x"]] }
        == "the id 4 belongs to \"a\" and to the added token \"x\"")
    #expect(
      try message { $0.addedTokens = [["id": 9_999_999, "content": "x"]] }
        == "the added token 9999999 has no content of up to 1024 bytes, or no id below 4194304")
    #expect(
      try message { $0.model["unk_token"] = "q" } == "model.unk_token is not a token of model.vocab"
    )
  }
}

@Suite struct TokenizerFactoryTests {
  @Test func configNamesTheSpecialTokens() throws {
    let fixture = TokenizerJSONFixture()
    let plain = try fixture.loaded()
    #expect(plain.tokenizer.bosID == 1 && plain.tokenizer.eosID == 2 && plain.addsBOS)
    #expect(plain.fileNames == ["tokenizer.json"])
    let other = try fixture.loaded(
      config: #"{"bos_token": {"content": "a"}, "eos_token": "b", "add_bos_token": false}"#)
    #expect(other.tokenizer.bosID == 4 && other.tokenizer.eosID == 5 && !other.addsBOS)
    #expect(other.fileNames == ["tokenizer.json", "tokenizer_config.json"])
    let error = #expect(throws: UserError.self) {
      try fixture.loaded(config: #"{"eos_token": "<end>"}"#)
    }
    #expect(
      error?.message
        == "tokenizer_config.json names the token \"<end>\", but the vocabulary has no such token")
  }

  @Test func jsonComesBeforeTheModelFile() throws {
    let directory = try TemporaryDirectory()
    try directory.write("tokenizer.model", SentencePieceTests.letters().bytes)
    let model = try TokenizerFactory.load(directory: directory.path)
    #expect(model.path.hasSuffix("/tokenizer.model") && model.addsBOS)
    #expect(model.tokenizer is LlamaTokenizer)
    try directory.write("tokenizer.json", TokenizerJSONFixture().text)
    let json = try TokenizerFactory.load(directory: directory.path)
    #expect(json.path.hasSuffix("/tokenizer.json") && json.tokenizer is BPETokenizer)
    #expect(json.fileNames == ["tokenizer.json", "tokenizer.model"])
  }

  @Test func missingFilesAreNamed() throws {
    let directory = try TemporaryDirectory()
    let error = #expect(throws: UserError.self) {
      try TokenizerFactory.load(directory: directory.path)
    }
    #expect(
      error?.description == """
        \(directory.path): no tokenizer: neither tokenizer.json, nor tokenizer.model, nor \
        vocab.json with merges.txt is in the directory
          fix: copy the tokenizer files of the model into the directory
        """)
    try directory.write("tokenizer.json", "[1]")
    #expect(throws: UserError.self) { try TokenizerFactory.load(directory: directory.path) }
  }
}
