import Data
import Support
import Testing

extension SampleList {
  /// Every sample, for comparison.
  func all() throws -> [Sample] { try indices.map { try sample($0) } }
}

/// How tokenized rows become the samples of a run.
@Suite struct DatasetTests {
  let directory: TemporaryDirectory
  private let loaded = LoadedTokenizer(
    tokenizer: ByteTokenizer(), addsBOS: false, path: "", fileNames: [])

  init() throws { directory = try TemporaryDirectory() }

  private func row(_ number: Int) -> String {
    "{\"input\": \"q\(number)\", \"output\": \"a\(number * 7)\"}\n"
  }

  private func store(_ name: String, _ text: String, _ builder: SampleBuilder) throws -> TokenStore
  {
    try TokenStore.build(
      DatasetReader(path: directory.write(name, text), vocabularySize: 300), with: builder)
  }

  private func make(
    _ files: [(text: String, weight: Double)], holdOut: HoldOut? = nil,
    _ settings: SampleBuilder.Settings = .init()
  ) throws -> (training: Dataset, heldOut: Dataset?) {
    let builder = SampleBuilder(loaded, settings: settings)
    let sources = try files.enumerated().map {
      Dataset.Source(try store("d\($0).jsonl", $1.text, builder), weight: $1.weight)
    }
    return try Dataset.make(sources, with: builder, holdOut: holdOut)
  }

  private func texts(_ dataset: Dataset?) throws -> [String] {
    try (dataset?.samples.all() ?? []).map {
      String(decoding: $0.tokens.filter { $0 < 256 && $0 > 1 }.map { UInt8($0) }, as: UTF8.self)
    }
  }

  // MARK: Weights

  @Test func weightsSayHowOftenRowsAreSeen() throws {
    let text = (0..<400).map(row).joined()
    let whole = try texts(try make([(text, 1)]).training)
    let twice = try texts(try make([(text, 2)]).training)
    #expect(twice == whole + whole)
    let more = try texts(try make([(text, 1.5)]).training)
    #expect(Array(more.prefix(400)) == whole)
    let half = try texts(try make([(text, 0.5)]).training)
    #expect(Array(more.dropFirst(400)) == half, "the same half")
    #expect(half.count > 160 && half.count < 240, "\(half.count) of 400")
    let quarter = try texts(try make([(text, 0.25)]).training)
    #expect(Set(quarter).isSubset(of: half), "a smaller weight takes some of the same rows")
    let reversed = try texts(try make([((0..<400).reversed().map(row).joined(), 0.5)]).training)
    #expect(Set(reversed) == Set(half), "order does not matter")
  }

  @Test func filesFollowEachOther() throws {
    let (training, _) = try make([(row(1), 1), (row(2) + row(3), 2)])
    #expect(try texts(training) == ["q1a7", "q2a14", "q3a21", "q2a14", "q3a21"])
    #expect(training.summary.rows == 3)
    #expect(training.summary.tokens == training.samples.lengths.reduce(0, +))
    let other = try make([(row(1), 2), (row(2) + row(3), 2)]).training
    #expect(training.digest != other.digest)
    #expect(training.digest == (try make([(row(1), 1), (row(2) + row(3), 2)])).training.digest)
  }

  // MARK: Hold-out

  @Test(arguments: [HoldOut.fraction(0.2), .count(60)])
  func theHoldOutFollowsFromARowAlone(_ holdOut: HoldOut) throws {
    let rows = (0..<300).map(row)
    let first = try make([(rows.joined(), 1)], holdOut: holdOut)
    let heldOut = Set(try texts(first.heldOut))
    #expect(heldOut.count > 35 && heldOut.count < 90, "\(heldOut.count)")
    if holdOut == .count(60) { #expect(heldOut.count == 60) }
    #expect(heldOut.isDisjoint(with: try texts(first.training)))
    #expect(first.training.samples.count + heldOut.count == 300)

    let second = try make(
      [(rows.reversed().joined(separator: "\n"), 3)], holdOut: holdOut)
    #expect(Set(try texts(second.heldOut)) == heldOut, "neither order nor weight matters")
    #expect(second.heldOut?.samples.count == heldOut.count)

    // A fraction does not look at other rows.
    if case .fraction = holdOut {
      let fewer = try make([(rows.prefix(150).joined(), 1)], holdOut: holdOut)
      #expect(
        try texts(fewer.heldOut)
          == (try texts(first.heldOut)).filter {
            (try? texts(fewer.heldOut).contains($0)) == true
          })
      #expect(Set(try texts(fewer.heldOut)).isSubset(of: heldOut))
    }
    // Duplicates fall on the same side.
    let doubled = try make([((rows + rows).joined(), 1)], holdOut: .fraction(0.2))
    #expect(Set(try texts(doubled.heldOut)).isDisjoint(with: try texts(doubled.training)))
  }

  @Test func columnsInAnotherOrderAreTheSameRow() throws {
    let one = try JSONParser.parse("{\"a\": \"x\", \"b\": 1}").objectValue
    let other = try JSONParser.parse("{ \"b\":1,\"a\":\"\\u0078\"}").objectValue
    let different = try JSONParser.parse("{\"a\": \"x\", \"b\": \"1\"}").objectValue
    #expect(RowHash(try #require(one)) == RowHash(try #require(other)))
    #expect(RowHash(try #require(one)) != RowHash(try #require(different)))
  }

  /// Fixed for good: another hash would move rows from training to evaluation. SHA-256 of
  /// `{"a": "x"}`, as `sha256sum` gives it.
  @Test func theHashIsPinned() {
    let hash = RowHash(JSONObject([("a", "x")]))
    #expect(hash.first == Self.pinned.first && hash.second == Self.pinned.second)
  }

  private static let pinned = RowHash(
    first: 0x79b5877ce299ab99, second: 0x24715b0da3453ee5)

  @Test func nothingLeftIsAnError() throws {
    for (holdOut, word) in [
      (HoldOut.fraction(0.000001), "evaluate on"), (.count(9), "train on"),
    ] {
      let error = #expect(throws: UserError.self) {
        try make([(row(1) + row(2), 1)], holdOut: holdOut)
      }
      #expect(error?.message.hasSuffix("which leaves nothing to \(word)") == true)
    }
  }

  // MARK: Split

  @Test(arguments: [2, 3, 5, 8, 50])
  func splittingTrainsEachTokenOnce(_ maxLength: Int) throws {
    let text = "{\"input\": \"abc\", \"output\": \"defghijkl\"}\n{\"text\": \"x\"}"
    let pair = String(text.split(separator: "\n")[0])
    let whole = try make([(pair, 1)], .init(trainOn: .completion)).training
    let uncut = try whole.samples.sample(0)
    let cut = try make([(pair, 1)], .init(maxLength: maxLength, overlength: .split)).training
    var targets: [Int32] = []
    for sample in try cut.samples.all() {
      #expect(sample.tokens.count <= maxLength && sample.targetTokens > 0)
      targets += sample.labels.dropFirst().filter { $0 != Sample.ignoredLabel }
    }
    #expect(targets == uncut.labels.dropFirst().filter { $0 != Sample.ignoredLabel })
    #expect(cut.summary.targetTokens == whole.summary.targetTokens)
    #expect(cut.summary.split == (maxLength < uncut.tokens.count ? 1 : 0))
    // Without a prompt nothing is left out, and each piece begins where the last one ended.
    let all = try make(
      [(pair, 1)], .init(trainOn: .all, maxLength: maxLength, overlength: .split)
    ).training.samples.all()
    #expect(all[0].tokens + all.dropFirst().flatMap { $0.tokens.dropFirst() } == uncut.tokens)
    for (left, right) in zip(all, all.dropFirst()) { #expect(left.tokens.last == right.tokens[0]) }
  }

  // MARK: Files of tokens

  @Test func filesGiveBackWhatWasTokenized() throws {
    let builder = SampleBuilder(loaded)
    let text = (0..<3000).map(row).joined()
    let path = try directory.write("d.jsonl", text)
    let reader = try DatasetReader(path: path, vocabularySize: 300)
    let inMemory = try TokenStore.build(reader, with: builder, threads: 3)
    let file = directory.path + "/tokens"
    let written = try TokenStore.build(
      reader, with: builder, destination: .init(path: file, key: "k"))
    let read = try #require(
      TokenFile.open(file, key: "k", dataPath: path, checksAll: true))
    #expect(inMemory.digest == written.digest && written.digest == read.digest)
    #expect(read.origin == inMemory.origin && read.rowCount == 3000)
    let sets = try [inMemory, read].map {
      try Dataset.make([Dataset.Source($0)], with: builder, holdOut: .count(10))
    }
    #expect(try sets[0].training.samples.all() == sets[1].training.samples.all())
    #expect(sets[0].training.digest == sets[1].training.digest)
    #expect(TokenFile.open(file, key: "other", dataPath: path, checksAll: true) == nil)
    #expect(TokenFile.open(file + "x", key: "k", dataPath: path, checksAll: true) == nil)
    #expect(
      try FileSystem.list(directory.path) == ["d.jsonl", "tokens"], "no temporary file stays")
  }

  @Test func damagedFilesAreFound() throws {
    let builder = SampleBuilder(loaded)
    let path = try directory.write("d.jsonl", (0..<20).map(row).joined())
    let file = directory.path + "/tokens"
    _ = try TokenStore.build(
      DatasetReader(path: path, vocabularySize: 300), with: builder,
      destination: .init(path: file, key: "k"))
    let whole = try FileSystem.readBytes(file)
    for position in stride(from: 0, to: whole.count, by: 7) {
      var bytes = whole
      bytes[position] ^= 0x41
      try FileSystem.write(bytes, to: file)
      #expect(
        TokenFile.open(file, key: "k", dataPath: path, checksAll: true) == nil, "byte \(position)")
      try FileSystem.write(Array(whole[..<position]), to: file)
      #expect(
        TokenFile.open(file, key: "k", dataPath: path, checksAll: true) == nil, "cut \(position)")
    }
  }

  // MARK: Statistics

  @Test func statisticsCountWhatACutLoses() throws {
    let builder = SampleBuilder(loaded)
    // Prefix, prompt, answer, end: 5, 9, 5 and 4 tokens.
    let text =
      "{\"input\": \"a\", \"output\": \"bc\"}\n{\"input\": \"abc\", \"output\": \"defg\"}\n"
      + "{\"output\": \"bc\", \"input\": \"a\"}\n{\"input\": \"ab\", \"output\": \"\"}\n"
    let source = Dataset.Source(try store("d.jsonl", text, builder))
    let statistics = try DataStatistics([source])
    #expect(statistics.rows == 4 && statistics.tokens == 23 && statistics.targetTokens == 12)
    #expect(statistics.duplicates == 1 && statistics.emptyAnswers == 1)
    #expect(statistics.untrained == 0 && statistics.withoutEnd == 0)
    #expect(statistics.lengths == [4, 5, 5, 9])
    #expect([0, 0.5, 0.75, 0.76, 1].map(statistics.quantile) == [4, 5, 5, 9, 9])
    typealias Loss = DataStatistics.Loss
    #expect(
      try statistics.losses(at: [3, 4, 7, 9]) == [
        Loss(maxLength: 3, rows: 4, targetTokens: 10, ends: 4),
        Loss(maxLength: 4, rows: 3, targetTokens: 7, ends: 3),
        Loss(maxLength: 7, rows: 1, targetTokens: 2, ends: 1), Loss(maxLength: 9),
      ])
  }
}
