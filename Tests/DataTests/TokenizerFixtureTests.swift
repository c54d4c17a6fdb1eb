import Data
import Support
import Testing

/// Tiny tokenizers with every supported component, against the ids and texts that Hugging Face's
/// library gave for them (scripts/make-tokenizer-fixtures.py).
@Suite struct TokenizerFixtureTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var document: JSONValue
    var rows: [JSONValue]
    var testDescription: String { name }

    func load() throws -> LoadedTokenizer {
      let directory = try TemporaryDirectory()
      try directory.write("tokenizer.json", document.compactText)
      return try TokenizerFactory.load(directory: directory.path)
    }
  }

  static let path =
    FileSystem.parent(of: FileSystem.parent(of: #filePath)) + "/Fixtures/tokenizers.json"

  static let cases: [Case] = {
    guard let file = try? FileSystem.readJSON(path) else { return [] }
    return (file["cases"]?.arrayValue ?? []).compactMap { entry in
      guard let name = entry["name"]?.stringValue, let rows = entry["rows"]?.arrayValue,
        var document = entry["tokenizer"]?.objectValue, var model = document["model"]?.objectValue,
        let kind = entry["vocabulary"]?.stringValue,
        let vocabulary = file["vocabularies"]?[kind]?.objectValue
      else { return nil }
      for (name, value) in vocabulary.members { model[name] = value }
      document["model"] = .object(model)
      return Case(name: name, document: .object(document), rows: rows)
    }
  }()

  @Test func allAreThere() { #expect(Self.cases.count == 36) }

  @Test(arguments: cases) func equalsTheLibrary(_ entry: Case) throws {
    let loaded = try entry.load()
    #expect(entry.rows.count > 25)
    for row in entry.rows {
      let parts = try #require(row.arrayValue)
      let text = try #require(parts[0].stringValue)
      let ids = try #require(parts[1].arrayValue).compactMap(\.intValue).map { Int32($0) }
      let own = try loaded.tokenizer.encode(text, isContinuation: false)
      #expect(loaded.prefixIDs + own + loaded.suffixIDs == ids, "\(text.debugDescription)")
      let plain = try #require(parts[2].stringValue)
      #expect(loaded.tokenizer.decode(ids).isExactly(plain), "\(text.debugDescription)")
      let whole = try #require(parts[3].stringValue)
      let decoded = loaded.tokenizer.decode(ids, keepsSpecialTokens: true)
      #expect(decoded.isExactly(whole), "\(text.debugDescription)")
    }
  }

  /// Any number of threads, and workspaces that have seen other texts, give the same ids.
  @Test(arguments: ["llama3", "llama2", "added"])
  func threadsChangeNothing(_ name: String) throws {
    let tokenizer = try #require(Self.cases.first { $0.name == name }).load().tokenizer
    let texts = (0..<500).map { number in
      String(
        repeating: "caf\u{E9} \(number % 37) \u{B2E4}\u{B78C}\u{C950} don't ", count: number % 7)
    }
    let expected = try texts.map { try tokenizer.encode($0, isContinuation: false) }
    for threads in [1, 2, 3, 8] {
      #expect(try tokenizer.encode(texts, threads: threads) == expected)
    }
  }

  /// Streamed text is the decoded text, also where characters break off between tokens.
  @Test func streamingEqualsDecoding() throws {
    let tokenizer = try #require(Self.cases.first { $0.name == "gpt2" }).load().tokenizer
    var state: UInt64 = 1
    for _ in 0..<300 {
      let ids = (0..<12).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int32(state >> 33) % Int32(tokenizer.vocabularySize)
      }
      #expect(tokenizer.decodeContinuation(ids).isExactly(tokenizer.decode(ids)))
    }
    let smile = try tokenizer.encode("\u{1F600}", isContinuation: true)
    var decoder = StreamingDecoder(tokenizer)
    let parts = smile.map { decoder.append($0) }
    #expect(parts.joined() == "\u{1F600}" && parts.last == "\u{1F600}")
    #expect(decoder.finish() == "")
  }

  /// One word of ten million characters is encoded in seconds by every kind.
  @Test(
    .timeLimit(.minutes(2)), arguments: ["gpt2", "llama3", "llama2", "metaspace-first", "nfkc"])
  func longWordsTakeLinearTime(_ name: String) throws {
    let tokenizer = try #require(Self.cases.first { $0.name == name }).load().tokenizer
    for unit in ["a", " ", "\u{AC00}", "\u{301}", "7"] {
      let count = 1_000_000
      let ids = try tokenizer.encode(String(repeating: unit, count: count), isContinuation: false)
      #expect(ids.count >= 1)
    }
  }
}
