import Data
import Support
import Testing

/// The formats of data files, and how each goes wrong.
@Suite struct FileFormatTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func reader(_ name: String, _ bytes: [UInt8]) throws -> DatasetReader {
    try DatasetReader(
      path: try directory.write(name, bytes),
      prompt: try RowTemplate("{a}", name: "--prompt"),
      completion: try RowTemplate("{b}", name: "--completion"), vocabularySize: 100)
  }

  private func read(_ name: String, _ bytes: [UInt8]) throws -> (rows: [[String]], lines: [Int]) {
    var rows: [[String]] = []
    var lines: [Int] = []
    try reader(name, bytes).forEachRow {
      guard case .pair(let prompt, let completion) = $0.row else { return false }
      rows.append([prompt, completion])
      lines.append($0.line)
      return true
    }
    return (rows, lines)
  }

  private func rows(_ name: String, _ text: String) throws -> [[String]] {
    try read(name, Array(text.utf8)).rows
  }

  private func failure(_ name: String, _ bytes: [UInt8]) throws -> String {
    let error = #expect(throws: UserError.self) { try read(name, bytes) }
    let text = try #require(error).description
    return text.hasPrefix(directory.path + "/")
      ? String(text.dropFirst(directory.path.count + 1)) : text
  }

  private func failure(_ name: String, _ text: String) throws -> String {
    try failure(name, Array(text.utf8))
  }

  // MARK: JSON

  @Test func anArrayIsTakenApartElementByElement() throws {
    let text = """
       [ {"a": "]", "b": "x,\\"}"}
      ,{"a":{"c": [1, "}"]}, "d": 1, "b": "", "a2": 0},

        {"b": "é", "a": "[\\\\"} ]

      """
    let path = try directory.write("rows.json", text)
    var lines: [Int] = []
    let plain = try DatasetReader(
      path: path, prompt: try RowTemplate("", name: "--prompt"),
      completion: try RowTemplate("{b}", name: "--completion"), vocabularySize: 1)
    var answers: [String] = []
    try plain.forEachRow {
      lines.append($0.line)
      if case .pair(_, let answer) = $0.row { answers.append(answer) }
      return true
    }
    #expect(answers == ["x,\"}", "", "é"])
    #expect(lines == [1, 2, 4])
    #expect(try plain.look().format == "JSON array")
    #expect(try plain.look().columns == ["a", "b"])
  }

  @Test func arraysThatAreBroken() throws {
    let good = "{\"a\": \"1\", \"b\": \"2\"}"
    let cases = [
      ("[]", "d.json: no rows"),
      ("[", "d.json:1: the file ends inside of element 0"),
      ("[\(good),\n{\"a\": \"", "d.json:2: the file ends inside of element 1"),
      ("[\(good)", "d.json:1: the array has no ] at its end"),
      ("[\(good)\n}", "d.json:2: the array has no ] at its end"),
      ("[\(good)]\n\n[1]", "d.json:3: text after the end of the array"),
      ("[\(good),]", "d.json:1: not valid JSON at byte 0: unexpected end"),
      ("[\(good),\n\n 7]", "d.json:3: element 1 of the array holds a number, not an object"),
      ("[\(good),\n{\n\"a\": 1,\n\"b\" 2}]", "d.json:4: not valid JSON: ':' was expected"),
      ("[{\"a\": \"1\", \"a\": \"2\"}]", "d.json:1: not valid JSON at byte 11: the name \"a\""),
      (String(repeating: "[", count: 300_000), "d.json:1: the file ends inside of element 0"),
      (
        "[" + String(repeating: "[", count: 300) + String(repeating: "]", count: 301),
        "d.json:1: not valid JSON at byte 128: nested deeper"
      ),
    ]
    for (text, message) in cases {
      let failure = try failure("d.json", text)
      #expect(failure.hasPrefix(message), "\(text.prefix(60)): \(failure)")
    }
    #expect(
      try failure(
        "d.json", Array("[\n{\"a\":\n\"x".utf8) + [0xED, 0xA0, 0x80] + Array("\"}]".utf8)
      )
      .hasPrefix("d.json:3: byte 3 of the line is 0xED, which is not UTF-8"))
  }

  // MARK: CSV and TSV

  @Test func fieldsOfEveryKind() throws {
    let text =
      "\u{FEFF}a,b\r\n1,2\r\n\"x,\"\"y\"\"\",\"line\r\nend\"\n\r\n\n, \n\"\",\"\"\n5'9\" tall,r\rs"
    let (rows, lines) = try read("d.csv", Array(text.utf8))
    #expect(
      rows == [
        ["1", "2"], ["x,\"y\"", "line\r\nend"], ["", " "], ["", ""], ["5'9\" tall", "r\rs"],
      ])
    #expect(lines == [2, 3, 7, 8, 9])
    #expect(try self.rows("d.tsv", "b\ta\n\"1\t2\"\t3,4\n") == [["3,4", "1\t2"]])
    #expect(try self.rows("d.csv", "a,b\n1,2") == [["1", "2"]])
    #expect(try self.rows("d.csv", "a,b\n1,2\r") == [["1", "2"]])
    #expect(try self.rows("d.csv", "a,b\n1,\"2\"\r") == [["1", "2"]])
    #expect(try self.rows("d.csv", "a,,b\n1,,2") == [["1", "2"]])
  }

  @Test func tablesThatAreBroken() throws {
    let cases = [
      ("\n\n", "d.csv: no header row"),
      ("a,b\n", "d.csv: no rows"),
      ("a,a\n1,2\n", "d.csv:1: the header names the column \"a\" twice"),
      ("a,b\n1,2\n\n1\n", "d.csv:4: the row has 1 fields, but the header names 2 columns"),
      ("a,b\n\"x\n\",1,2\n", "d.csv:2: the row has 3 fields, but the header names 2"),
      ("a,b\n1,\"2\n3\n", "d.csv:2: a quoted field that begins here has no end"),
      ("a,b\n1,\"2\"3\n", "d.csv:2: \"3\" follows the quote that ends a field"),
      ("a,b\n1,\"2\"\r3\n", "d.csv:2: other text follows the quote"),
      ("a,c\n1,2\n", "d.csv:2: --completion names the column \"b\", but the row has the columns"),
    ]
    for (text, message) in cases {
      let failure = try failure("d.csv", text)
      #expect(failure.hasPrefix(message), "\(text): \(failure)")
    }
    #expect(
      try failure("d.csv", Array("a,b\n1,\"2\né".utf8) + [0x80] + Array("\"\n".utf8)).hasPrefix(
        "d.csv:3: byte 3 of the line is 0x80, which is not UTF-8"))
    #expect(
      try failure("d.csv", [0xFF, 0xFE, 0x61, 0x00]).hasPrefix("d.csv:1: the file is UTF-16"))
  }

  @Test func blocksMayEndAnywhere() throws {
    // 1 MiB is a block: quotes, line ends and characters lie across the border in some row.
    let fields = (0..<40_000).map { row in
      ["é\"\r\n\(row)" + String(repeating: "x", count: row % 61), "\(row),"]
    }
    let text = fields.map { row in
      row.map { "\"" + $0.replacing("\"", with: "\"\"") + "\"" }.joined(separator: ",") + "\r\n"
    }
    #expect(try rows("d.csv", "a,b\r\n" + text.joined()) == fields)
    let array = fields.map {
      JSONValue.object(JSONObject([("a", .string($0[0])), ("b", .string($0[1]))])).compactText
    }
    #expect(try rows("d.json", "[" + array.joined(separator: ",\n") + "]") == fields)
  }

  @Test(arguments: [
    ("x.csv", "a,b\n[,{\n", "CSV"), ("x.TSV", "a\tb\n1\t2", "TSV"), ("x.tab", "a\tb\n1\t2", "TSV"),
    ("x", "a,b\n1,2", "CSV"), ("x.txt", "a\tb, c\n1\t2", "TSV"),
    ("x", " \n[{\"a\":1}]", "JSON array"),
    ("x.json", "{\"a\": 1}", "JSONL"), ("x", "\u{FEFF}{\"a\": 1}", "JSONL"),
    ("x.jsonl", "[{\"a\": 1}]", "JSON array"),
  ])
  func formatsAreToldByNameAndContent(_ name: String, _ text: String, _ format: String) throws {
    #expect(try reader(name, Array(text.utf8)).look().format == format)
  }

  // MARK: gzip

  /// Made by `gzip -n`: `a,b\n1,2\n`.
  static let compressed: [UInt8] = [
    0x1F, 0x8B, 0x08, 0, 0, 0, 0, 0, 0x02, 0x03, 0x4B, 0xD4, 0x49, 0xE2, 0x32, 0xD4, 0x31, 0xE2,
    0x02, 0x00, 0x7B, 0x07, 0x97, 0x0A, 0x08, 0, 0, 0,
  ]

  @Test func gzipOfOneOrMoreMembers() throws {
    let stored = Self.stored("a,b\n1,2\n")
    #expect(try read("d.csv.gz", stored).rows == [["1", "2"]])
    #expect(try read("d.csv.gz", Self.compressed).rows == [["1", "2"]])
    #expect(
      try read("d", stored + Self.stored("3,4\n") + [0, 0, 0]).rows == [["1", "2"], ["3", "4"]])
    #expect(try reader("d.csv", stored).look().format == "CSV, gzip")
    let json = Self.stored("[{\"a\": \"x\",") + Self.stored("\"b\": \"y\"}]")
    #expect(try read("d.gz", json).rows == [["x", "y"]])
  }

  /// The format is told by what stands in the members together.
  @Test(arguments: ["\n \n  [{\"a\": \"x\", \"b\": \"y\"}]", "a,b\nx,y\n", "\u{FEFF}a\tb\nx\ty\n"])
  func gzipOfShortMembers(_ text: String) throws {
    let members = Array(text.utf8).flatMap { Self.stored(String(decoding: [$0], as: UTF8.self)) }
    #expect(try rows("plain", text) == [["x", "y"]])
    if text.utf8.allSatisfy({ $0 < 0x80 }) { #expect(try read("d", members).rows == [["x", "y"]]) }
    let pairs = Self.stored(String(text.prefix(2))) + Self.stored(String(text.dropFirst(2)))
    #expect(try read("d", pairs).rows == [["x", "y"]])
  }

  @Test func gzipThatIsBroken() throws {
    let stored = Self.stored("a,b\n1,2\n")
    for count in [2, 5, 12, stored.count - 1] {
      #expect(
        try failure("d.csv.gz", Array(stored[..<count])).hasPrefix(
          "d.csv.gz: the gzip data break off after"), "\(count)")
    }
    var wrong = stored
    wrong[wrong.count - 6] ^= 1
    #expect(
      try failure("d.csv.gz", wrong).hasPrefix(
        "d.csv.gz: the gzip data are broken after 0 bytes of content: incorrect data check"))
    #expect(
      try failure("d.csv.gz", stored + [1, 2, 3]).hasPrefix(
        "d.csv.gz: the gzip data are broken after 8 bytes of content: incorrect header check"))
  }

  /// Members of a mebibyte of spaces each, made by `gzip -n`: about a thousand times less.
  @Test func gzipThatFillsADiskIsRefused() throws {
    let member: [UInt8] =
      [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 3, 0xED, 0xC1, 0x31, 1, 0, 0, 0, 0xC2, 0xA0, 0x2A, 0xEB]
      + [0x9F, 0xD2, 0x10, 0xBE, 0x40, 1] + [UInt8](repeating: 0, count: 1015)
      + [0x7C, 0x06, 0xA7, 0x02, 0x03, 0xF1, 0, 0, 0x10, 0]
    let good = Self.stored("{\"a\": \"1\", \"b\": \"2\"}\n")
    let few = (0..<4).flatMap { _ in member }
    #expect(try read("d.jsonl.gz", good + few).rows == [["1", "2"]])
    let many = (0..<80).flatMap { _ in member }
    #expect(
      try failure("d.jsonl.gz", good + many).contains(
        " times as many; files of more than 300 times are refused"))
  }

  /// A gzip member whose content is not compressed, with the checksum it needs.
  static func stored(_ text: String) -> [UInt8] {
    let content = Array(text.utf8)
    func little(_ value: UInt32, _ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }
    }
    var crc: UInt32 = .max
    for byte in content {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
    }
    let size = UInt32(content.count)
    return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1] + little(size, 2) + little(~size, 2) + content
      + little(~crc, 4) + little(size, 4)
  }
}
