import Data
import Support
import Testing

@Suite struct SentencePieceTests {
  /// Pieces with ids from 3 on: space, a, b, c, ab, bc, abc, space+a.
  static func letters() -> SentencePieceFixture {
    var fixture = SentencePieceFixture()
    fixture.add("\u{2581}", "a", "b", "c", score: -10)
    fixture.add("ab", score: -1)
    fixture.add("bc", score: -0.5)
    fixture.add("abc", score: -2)
    fixture.add("\u{2581}a", score: -3)
    return fixture
  }

  /// The last case: the name of a control symbol in a text is text, here of unknown characters.
  @Test(arguments: [
    ("abc", [3, 9]), ("ab", [3, 7]), ("a", [10]), ("", []), (" ", [3, 3]), ("a a", [10, 10]),
    ("aab", [10, 7]), ("bcbc", [3, 8, 8]), ("<s>", [3, 0]),
  ])
  func mergesBestScoreFirst(_ text: String, _ ids: [Int32]) throws {
    #expect(try Self.letters().tokenizer().encode(text, isContinuation: false) == ids)
  }

  @Test func continuationHasNoPrefix() throws {
    let tokenizer = try Self.letters().tokenizer()
    #expect(tokenizer.encode("abc", isContinuation: true) == [9])
    #expect(tokenizer.encode(" a", isContinuation: true) == [10])
    #expect(tokenizer.encode("", isContinuation: true) == [])
  }

  @Test func unknownCharactersAreFusedWithoutBytes() throws {
    let tokenizer = try Self.letters().tokenizer()
    #expect(tokenizer.encode("xyzaxy", isContinuation: true) == [0, 4, 0])
    #expect(tokenizer.decode([0, 4]) == " \u{2047} a")
  }

  @Test func unknownCharactersBecomeBytes() throws {
    var fixture = Self.letters()
    fixture.addBytes()
    let tokenizer = try fixture.tokenizer()
    #expect(tokenizer.encode("é", isContinuation: true) == [11 + 0xC3, 11 + 0xA9])
    #expect(tokenizer.decode([10, 11 + 0xC3, 11 + 0xA9, 4]).isExactly("a\u{E9}a"))
    #expect(tokenizer.decode([4, 11 + 0xC3, 11 + 0x41]).isExactly("a\u{FFFD}A"))
  }

  @Test func userDefinedSymbolsStayWhole() throws {
    var fixture = Self.letters()
    fixture.add("bb", "bbb", score: 0, kind: 4)
    let tokenizer = try fixture.tokenizer()
    #expect(tokenizer.encode("abbbbc", isContinuation: true) == [4, 12, 8])
    #expect(tokenizer.encode("abbc", isContinuation: true) == [4, 11, 6])
    // Pieces that a symbol could be merged into do not change that.
    fixture.add("abb", "bbc", score: 0)
    #expect(try fixture.tokenizer().encode("abbc", isContinuation: true) == [4, 11, 6])
  }

  @Test func unusedPiecesAreTakenApart() throws {
    var fixture = Self.letters()
    let index = try #require(fixture.pieces.firstIndex { $0.text == "abc" })
    fixture.pieces[index].kind = 5
    #expect(try fixture.tokenizer().encode("abc", isContinuation: true) == [4, 8])
  }

  @Test func canonicallyEquivalentPiecesDiffer() throws {
    var fixture = SentencePieceFixture()
    fixture.add("\u{E9}", "e", "\u{301}", "e\u{301}")
    let tokenizer = try fixture.tokenizer()
    #expect(tokenizer.encode("\u{E9}", isContinuation: true) == [3])
    #expect(tokenizer.encode("e\u{301}", isContinuation: true) == [6])
  }

  @Test func extraSpacesAreRemovedWhereTheModelSaysSo() throws {
    var fixture = Self.letters()
    fixture.normalizer = []
    let tokenizer = try fixture.tokenizer()
    #expect(tokenizer.encode("  a   b ", isContinuation: false) == [10, 3, 5])
    #expect(tokenizer.encode("   ", isContinuation: false) == [])
    #expect(tokenizer.encode("  a", isContinuation: true) == [10])
    fixture.normalizer = [(3, 0), (4, 0)]
    #expect(try fixture.tokenizer().encode(" a", isContinuation: false) == [10])
    #expect(try fixture.tokenizer().encode("a", isContinuation: false) == [4])
  }

  @Test func characterMapReplacesTheLongestKey() throws {
    var fixture = Self.letters()
    fixture.charsMap = SentencePieceFixture.charsMap([
      ("A", "a"), ("\u{FB01}", "bc"), ("AB", "c"), ("\t", " "),
    ])
    let tokenizer = try fixture.tokenizer()
    #expect(tokenizer.encode("A\u{FB01}", isContinuation: true) == [9])
    #expect(tokenizer.encode("ABA", isContinuation: true) == [6, 4])
    #expect(tokenizer.encode("b\tA", isContinuation: true) == [5, 10])
  }

  @Test func decodingDropsThePrefixAndSpecialTokens() throws {
    let tokenizer = try Self.letters().tokenizer()
    #expect(tokenizer.decode([1, 10, 10, 2]) == "a a")
    #expect(tokenizer.decode([3, 3, 4]) == " a")
    #expect(tokenizer.decodeContinuation([10, 4, 2]) == " aa")
    #expect(tokenizer.bosID == 1 && tokenizer.eosID == 2 && tokenizer.vocabularySize == 11)
  }

  @Test(.timeLimit(.minutes(1))) func aMegabyteOfOneCharacterIsQuick() throws {
    var fixture = Self.letters()
    var run = "a"
    for step in 0..<6 {
      run += run
      fixture.add(run, score: -20 - Float(step))
    }
    let ids = try fixture.tokenizer()
      .encode(String(repeating: "a", count: 1 << 20), isContinuation: true)
    #expect(ids == Array(repeating: 16, count: 1 << 14))
  }
}

@Suite struct SentencePieceFileTests {
  func message(_ bytes: [UInt8]) throws -> String {
    let error = #expect(throws: UserError.self) {
      _ = try SentencePieceTokenizer(SentencePieceModel(bytes, path: "m"), path: "m")
    }
    return try #require(error).message
  }

  func message(_ change: (inout SentencePieceFixture) -> Void) throws -> String {
    var fixture = SentencePieceTests.letters()
    change(&fixture)
    return try message(fixture.bytes)
  }

  @Test func modelsThatBreakARuleAreRefused() throws {
    #expect(try message([]) == "a sentencepiece model without pieces")
    #expect(
      try message { $0.modelType = 1 }
        == "a sentencepiece model of type unigram, but only BPE models are supported")
    #expect(try message { $0.add("ab") } == "pieces 7 and 11 are both \"ab\"")
    #expect(try message { $0.add("") } == "piece 11 is empty")
    #expect(try message { $0.add("q", score: .nan) } == "the score of piece 11 is nan")
    #expect(
      try message { $0.add("<0x00>", kind: 6) }
        == "piece 11 is a byte, but the model has no byte fallback")
    #expect(
      try message { $0.hasByteFallback = true }
        == "byte fallback needs 256 byte pieces, but the model has 0")
    #expect(
      try message { $0.pieces.removeFirst() }
        == "0 pieces have the type unknown, but exactly one must")
    #expect(try message { $0.add("q", kind: 9) }.hasSuffix("piece type 9"))
    #expect(
      try message { $0.denormalizer = [1] }.hasSuffix("a denormalizer, which is not supported"))
    #expect(
      try message { $0.add(String(repeating: "q", count: 1025)) }
        .hasSuffix("a piece of 1025 bytes; at most 1024 are accepted"))
    #expect(
      try message { $0.charsMap = [8, 0, 0, 0, 1] }
        == "the character map of the normalizer is broken: a trie of 8 bytes in 1")
  }

  @Test(arguments: [
    ([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F], "field 1 claims 4294967295 bytes, but 0 are left"),
    ([0x0A], "a number is cut off"),
    (
      [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], "a number has more than 64 bits"
    ),
    ([0x00], "field number 0"), ([0x0B], "field 1 has the unknown wire type 3"),
    ([0x15, 1, 2], "a number is cut off"), ([0x0A, 3, 0x0A, 1, 0xFF], "a string is not UTF-8"),
  ])
  func brokenBytesAreRefused(_ bytes: [UInt8], _ reason: String) throws {
    #expect(try message(bytes).hasSuffix(reason))
  }

  /// Whatever a single byte is changed to, the parser answers with a model or an error.
  @Test func everyCutAndEveryFlippedByteIsSurvived() throws {
    var fixture = SentencePieceTests.letters()
    fixture.charsMap = SentencePieceFixture.charsMap([("A", "a")])
    let bytes = fixture.bytes
    let end = min(bytes.count, 400)
    var refused = 0
    for position in 0..<end {
      for changed in [Array(bytes[..<position]), Self.flipped(bytes, position)] {
        do {
          let tokenizer = try SentencePieceTokenizer(
            SentencePieceModel(changed, path: "m"), path: "m")
          _ = tokenizer.decode(tokenizer.encode("abcA é", isContinuation: false))
        } catch { refused += 1 }
      }
    }
    #expect(refused > end / 2)
  }

  static func flipped(_ bytes: [UInt8], _ position: Int) -> [UInt8] {
    var bytes = bytes
    bytes[position] ^= 0xFF
    return bytes
  }
}
