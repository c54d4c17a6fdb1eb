import Data
import Support
import Testing

@Suite struct DatasetReaderTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  func rows(_ bytes: [UInt8], prompt: String? = nil, completion: String? = nil) throws
    -> [(row: Row, line: Int)]
  {
    let reader = try DatasetReader(
      path: try directory.write("d.jsonl", bytes),
      prompt: try prompt.map { try RowTemplate($0, name: "--prompt") },
      completion: try completion.map { try RowTemplate($0, name: "--completion") },
      vocabularySize: 100)
    var rows: [(row: Row, line: Int)] = []
    try reader.forEachRow {
      rows.append(($0.row, $0.line))
      return true
    }
    return rows
  }

  func rows(_ text: String) throws -> [Row] { try rows(Array(text.utf8)).map(\.row) }

  /// The error's text without the directory.
  func failure(_ bytes: [UInt8], prompt: String? = nil, completion: String? = nil) throws
    -> String
  {
    let error = #expect(throws: UserError.self) {
      try rows(bytes, prompt: prompt, completion: completion)
    }
    let text = try #require(error).description
    return text.hasPrefix(directory.path + "/")
      ? String(text.dropFirst(directory.path.count + 1)) : text
  }

  func failure(_ text: String, prompt: String? = nil, completion: String? = nil) throws -> String {
    try failure(Array(text.utf8), prompt: prompt, completion: completion)
  }

  @Test func formatsAreDetected() throws {
    #expect(
      try rows(#"{"input": "a", "output": "b"}"#) == [.pair(prompt: "a", completion: "b")])
    #expect(
      try rows(#"{"completion": "b", "prompt": "a", "id": 7}"#)
        == [.pair(prompt: "a", completion: "b")])
    #expect(try rows(#"{"text": "a\u00e9"}"#) == [.text("a\u{E9}")])
    #expect(
      try rows(#"{"input_ids": [1, 2, 3], "labels": [-100, -100, 3]}"#)
        == [.tokens([1, 2, 3], labels: [-100, -100, 3])])
    #expect(try rows(#"{"input_ids": [1, 2]}"#) == [.tokens([1, 2], labels: [1, 2])])
  }

  @Test(arguments: [
    ("\n{\"input_ids\": [1]}", true), ("{\"text\": \"a\"}", false), ("\n \n", false),
  ])
  func tokensAreToldByTheFirstRow(_ text: String, _ holdsTokens: Bool) throws {
    let path = try directory.write("d.jsonl", Array(text.utf8))
    #expect(try DatasetReader(path: path, vocabularySize: 10).holdsTokens() == holdsTokens)
  }

  @Test func linesAreCountedThroughBlankOnesAndLineEnds() throws {
    let bytes = [0xEF, 0xBB, 0xBF] + Array("{\"text\": \"a\"}\r\n\n  \r\n{\"text\": \"b\"}".utf8)
    let rows = try rows(bytes)
    #expect(rows.map(\.row) == [.text("a"), .text("b")])
    #expect(rows.map(\.line) == [1, 4])
  }

  @Test func longFilesAreReadOverManyBlocks() throws {
    let count = 40_000
    let text = (0..<count).map {
      "{\"text\": \"row \($0) \(String(repeating: "x", count: 90))\"}\n"
    }
    let reader = try DatasetReader(
      path: try directory.write("long.jsonl", text.joined()), vocabularySize: 1)
    var seen = 0
    var done: [Int] = []
    try reader.forEachRow(progress: {
      done.append($0); #expect($0 <= $1)
    }) {
      guard case .text(let text) = $0.row, text.hasPrefix("row \(seen) "), $0.line == seen + 1
      else {
        Issue.record("row \(seen), line \($0.line): \($0.row)")
        return false
      }
      seen += 1
      return true
    }
    #expect(seen == count)
    #expect(done.count > 100 && done == done.sorted())
  }

  @Test func templatesChooseColumns() throws {
    let row = Array(#"{"q": "Why?", "a": "So.", "n": 3, "f": true, "text": "t"}"#.utf8)
    let read = try rows(row, prompt: #"{n}{f} {{{q}}}\nA\\n:"#, completion: "{a}")
    #expect(read.map(\.row) == [.pair(prompt: "3true {Why?}\nA\\n:", completion: "So.")])
  }

  @Test(arguments: [
    ("{", "has no } after {"), ("a}b", "has a } without a {"),
    ("{}", "holds the placeholder {} without a column name"),
    ("{a{b}}", "has a { inside the placeholder {a"),
  ])
  func brokenTemplatesAreRefused(_ template: String, _ reason: String) throws {
    let error = #expect(throws: UserError.self) { try RowTemplate(template, name: "--prompt") }
    #expect(error?.message == "\"\(template)\" \(reason)")
    #expect(error?.location == "--prompt" && error?.kind == .usage)
  }

  @Test func missingColumnsNameWhatIsThere() throws {
    #expect(
      try failure(#"{"a": "1", "b": "2"}"#, prompt: "{q}", completion: "{a}") == """
        d.jsonl:1: --prompt names the column "q", but the row has the columns "a" and "b"
          fix: name one of the row's columns in --prompt, or add the column to the row
        """)
    #expect(
      try failure(#"{"a": null, "q": ""}"#, prompt: "{q}", completion: "{a}").hasPrefix(
        "d.jsonl:1: the column \"a\" is null, but --completion needs a text"))
    #expect(
      try failure("{\"text\": \"a\"}\n{\"body\": \"b\"}").hasPrefix(
        "d.jsonl:2: the column \"text\" is missing; the row has only the column \"body\""))
    #expect(
      try failure("{\"input\": \"a\", \"output\": \"\"}\n{\"input\": \"b\"}").hasPrefix(
        "d.jsonl:2: the default completion names the column \"output\", but the row has only the"))
    #expect(
      try failure("{}").hasPrefix("d.jsonl:1: the row has no columns, which is no known format: "))
    #expect(
      try failure("{\"text\": 5}").hasPrefix(
        "d.jsonl:1: the column \"text\" is a number, not a text"))
  }

  @Test func brokenFilesNameTheLine() throws {
    let good = "{\"text\": \"a\"}\n"
    #expect(
      try failure("") == "d.jsonl: the file is empty\n  fix: write one JSON object a line")
    #expect(
      try failure("\n  \n").hasPrefix(
        "d.jsonl: no rows: there is nothing but a header or blank lines"))
    #expect(
      try failure(good + "{\"text\": }\n").hasPrefix(
        "d.jsonl:2: not valid JSON at byte 9: a value was expected"))
    #expect(
      try failure(good + "\n[1]").hasPrefix(
        "d.jsonl:3: the line holds an array, not an object with columns"))
    #expect(
      try failure(Array(good.utf8) + [0x22, 0xC3, 0x22, 0x0A])
        == """
        d.jsonl:2: byte 2 of the line is 0xC3, which is not UTF-8
          fix: save the file as UTF-8, for example with iconv -f ISO-8859-1 -t UTF-8
        """)
    #expect(try failure([0xFF, 0xFE, 0x7B, 0x00]).hasPrefix("d.jsonl:1: the file is UTF-16"))
    let missing = #expect(throws: UserError.self) {
      try DatasetReader(path: directory.path + "/none", vocabularySize: 1)
    }
    #expect(missing?.message.hasPrefix("cannot open") == true)
    #expect(
      try failure("{}", prompt: "{a}") == """
        --prompt: is given without --completion
          fix: add --completion, for example --completion '{output}'
        """)
  }

  @Test(arguments: [
    (#"{"input_ids": [1, 100]}"#, "input_ids[1] is 100, not a token id from 0 to 99"),
    (#"{"input_ids": [-100]}"#, "input_ids[0] is -100, not a token id from 0 to 99"),
    (#"{"input_ids": [1.5]}"#, "input_ids[0] is a number, not a token id from 0 to 99"),
    (#"{"input_ids": "1"}"#, "the column \"input_ids\" is a string, not a list"),
    (#"{"input_ids": []}"#, "input_ids is empty, but a row needs at least 1 token"),
    (
      #"{"input_ids": [1], "labels": [1, 2]}"#,
      "input_ids has 1 elements and labels 2, but each token has one label"
    ),
    (
      #"{"input_ids": [1], "labels": [-1]}"#,
      "labels[0] is -1, not a token id from 0 to 99 and not -100"
    ),
  ])
  func brokenTokenRowsAreRefused(_ row: String, _ reason: String) throws {
    let text = try failure("{\"input_ids\": [0]}\n" + row)
    #expect(text.hasPrefix("d.jsonl:2: \(reason)"), "\(text)")
  }
}
