import Data
import Support
import Testing

/// Gives each byte of a text its value as id, a prefix (1) where nothing came before.
struct ByteTokenizer: Tokenizer {
  var vocabularySize: Int { 300 }
  var bosID: Int32? = 298
  var eosID: Int32? = 299

  func encode(_ text: String, isContinuation: Bool) -> [Int32] {
    (isContinuation ? [] : [1]) + text.utf8.map { Int32($0) }
  }

  func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String { decodeContinuation(ids) }
  func continuationBytes(of id: Int32) -> [UInt8] { id < 256 ? [UInt8(id)] : [] }
}

@Suite struct SampleBuilderTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  func build(
    _ lines: [String], _ settings: SampleBuilder.Settings = .init(), addsBOS: Bool = true,
    eosID: Int32? = 299
  ) throws -> Dataset {
    let loaded = LoadedTokenizer(
      tokenizer: ByteTokenizer(eosID: eosID), addsBOS: addsBOS, path: "", fileNames: [])
    let path = try directory.write("d.jsonl", lines.joined(separator: "\n"))
    let reader = try DatasetReader(path: path, vocabularySize: 300)
    let builder = SampleBuilder(loaded, settings: settings)
    return try Dataset.make(
      [Dataset.Source(TokenStore.build(reader, with: builder))], with: builder
    ).training
  }

  func failure(
    _ lines: [String], _ settings: SampleBuilder.Settings = .init(), eosID: Int32? = 299
  ) throws -> String {
    let error = #expect(throws: UserError.self) { try build(lines, settings, eosID: eosID) }
    return String(try #require(error).description.dropFirst(directory.path.count + 1))
  }

  static func pair(_ prompt: String, _ completion: String) -> String {
    "{\"input\": \"\(prompt)\", \"output\": \"\(completion)\"}"
  }

  @Test func onlyTheAnswerAndItsEndAreLearned() throws {
    let dataset = try build([Self.pair("ab", "c")])
    #expect(
      try dataset.samples.all() == [
        Sample(tokens: [298, 1, 97, 98, 99, 299], labels: [-100, -100, -100, -100, 99, 299])
      ])
    #expect(
      dataset.summary
        == {
          var summary = Dataset.Summary()
          summary.rows = 1
          summary.tokens = 6
          summary.targetTokens = 2
          summary.longest = 6
          return summary
        }())
  }

  @Test func trainingOnAllLearnsEverythingButTheFirstToken() throws {
    let all = SampleBuilder.Settings(trainOn: .all)
    let expected = Sample(tokens: [298, 1, 97, 98, 299], labels: [-100, 1, 97, 98, 299])
    #expect(try build([Self.pair("a", "b")], all).samples.all() == [expected])
    #expect(try build(["{\"text\": \"ab\"}"]).samples.all() == [expected])
    #expect(
      try build(["{\"text\": \"ab\"}"], addsBOS: false).samples.all()
        == [Sample(tokens: [1, 97, 98, 299], labels: [-100, 97, 98, 299])])
  }

  @Test func tokenRowsAreTakenAsTheyAre() throws {
    let row = "{\"input_ids\": [5, 6, 7], \"labels\": [5, -100, 7]}"
    let dataset = try build([row], .init(trainOn: .all))
    #expect(try dataset.samples.all() == [Sample(tokens: [5, 6, 7], labels: [5, -100, 7])])
    #expect(dataset.summary.targetTokens == 1, "the label at position 0 never counts")
  }

  @Test func tooLongIsAnErrorWithTheNumbers() throws {
    let rows = [Self.pair("a", "b"), Self.pair("aaa", "b"), Self.pair("aaaaa", "b")]
    #expect(
      try failure(rows, .init(maxLength: 5)) == """
        d.jsonl:2: 2 of 3 rows are longer than --max-length 5; the longest has 9 tokens
          fix: raise --max-length to 9, or choose --overlength drop, truncate-prompt or split; \
        the data command shows what each length cuts
        """)
    #expect(try build(rows, .init(maxLength: 9)).samples.count == 3)
  }

  @Test func dropLeavesRowsOut() throws {
    let rows = [Self.pair("aaa", "b"), Self.pair("a", "b"), Self.pair("aaaa", "b")]
    let dataset = try build(rows, .init(maxLength: 5, overlength: .drop))
    #expect(dataset.samples.count == 1)
    #expect(dataset.summary.dropped == 2 && dataset.summary.rows == 3)
    #expect(
      try failure(rows, .init(maxLength: 4, overlength: .drop)).hasPrefix(
        "d.jsonl: nothing to learn: 3 rows (3 dropped) with 0 tokens hold 0 target tokens"))
  }

  @Test func truncatingCutsThePromptAtItsLeft() throws {
    let settings = SampleBuilder.Settings(maxLength: 5, overlength: .truncatePrompt)
    let dataset = try build([Self.pair("abcd", "xy"), Self.pair("", "x")], settings)
    #expect(try dataset.samples.sample(0).tokens == [298, 100, 120, 121, 299])
    #expect(try dataset.samples.sample(0).labels == [-100, -100, 120, 121, 299])
    #expect(dataset.summary.truncated == 1)
    let exact = try build([Self.pair("abcd", "xyz")], settings)
    #expect(
      try exact.samples.sample(0).tokens == [298, 120, 121, 122, 299], "the whole prompt goes")
    let row =
      "{\"input_ids\": [298, 10, 11, 12, 13, 14], \"labels\": [-100, -100, -100, 12, -100, 14]}"
    #expect(try build([row], settings).samples.sample(0).tokens == [298, 11, 12, 13, 14])
  }

  @Test func anAnswerIsNeverCut() throws {
    let settings = SampleBuilder.Settings(maxLength: 5, overlength: .truncatePrompt)
    let rows = [Self.pair("a", "x"), Self.pair("a", "wxyz"), Self.pair("", "uvwxyz")]
    #expect(
      try failure(rows, settings) == """
        d.jsonl:2: the answer alone does not fit into --max-length 5 in 2 of 3 rows; the longest \
        needs 8 tokens
          fix: raise --max-length to 8, or leave such rows out with --overlength drop
        """)
    #expect(try failure(["{\"text\": \"abcd\"}"], settings).contains("needs 7 tokens"))
  }

  @Test func datasetsThatTeachNothingAreRefused() throws {
    #expect(
      try failure([Self.pair("a", "b"), Self.pair("a", "bc")], eosID: nil) == """
        d.jsonl: of 2 samples 0 train the end token, so the model would never learn to stop
          fix: name the end token as eos_token in the model's tokenizer_config.json
        """)
    #expect(
      try failure(["{\"input_ids\": [5, 6], \"labels\": [5, -100]}"]) == """
        d.jsonl: nothing to learn: 1 rows (0 dropped) with 2 tokens hold 0 target tokens
          fix: give tokens after the first a label other than -100
        """)
    #expect(try build(["{\"input_ids\": [5, 6]}"]).summary.targetTokens == 1)
  }
}
