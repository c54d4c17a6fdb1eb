import Support
import Testing

@Suite struct YAMLTests {
  private func parse(_ text: String) throws -> YAMLDocument {
    try YAMLDocument.parse(Array(text.utf8), path: "run.yaml")
  }

  @Test func readsScalarsOfTheCoreSchema() throws {
    let document = try parse(
      """
      none: ~
      empty:
      yes: yes
      truth: True
      count: -12
      hex: 0x1F
      octal: 0o17
      rate: 2e-4
      dot: .5
      infinite: -.inf
      version: 1.2.3
      underscore: 1_000
      quoted: "12"
      single: 'true'
      block: |
        two
        lines
      list: [q, 1, null]
      nested: {a: {b: [1]}}
      """)
    let expected: JSONValue = [
      "none": .null, "empty": .null, "yes": "yes", "truth": true, "count": -12, "hex": 31,
      "octal": 15, "rate": 2e-4, "dot": 0.5, "infinite": .double(-.infinity),
      "version": "1.2.3", "underscore": "1_000", "quoted": "12", "single": "true",
      "block": "two\nlines\n", "list": ["q", 1, .null], "nested": ["a": ["b": [1]]],
    ]
    #expect(document.root == expected)
    #expect(document.lines["none"] == 1)
    #expect(document.lines["nested"] == 19)
    #expect(document.lines["a"] == nil)
  }

  @Test func readsJSON() throws {
    let text = #"{"a":1,"b":[true,null,"x\n\u00e9\/"],"c":{"d":-2.5e3}}"#
    #expect(try parse(text).root == JSONParser.parse(text))
  }

  @Test func emptyFilesAreNull() throws {
    #expect(try parse("").root == .null)
    #expect(try parse("# only a comment\n").root == .null)
  }

  @Test(arguments: [
    ("a: 1\nb: 2\na: 3\n", "run.yaml:3: the key \"a\" appears twice, first on line 1"),
    ("a: &x 1\n", "run.yaml:1: an anchor (&name) is not accepted"),
    ("a: 1\nb: *x\n", "run.yaml:2: an alias (*name) is not accepted"),
    ("a: !!str 1\n", "run.yaml:1: a tag (!name) is not accepted"),
    ("a: 1\n---\nb: 2\n", "run.yaml:2: a second document"),
    ("a: [1, 2\n", "run.yaml:2: not valid YAML"),
    ("a:\n\t- 1\n", "run.yaml:2: not valid YAML"),
    ("[a, b]: 1\n", "run.yaml:1: a key must be one word"),
    ("a: 1e999\n", "run.yaml:1: the number 1e999 is out of range"),
    ("a: 0xFFFFFFFFFFFFFFFF\n", "run.yaml:1: the number 0xFFFFFFFFFFFFFFFF is out of range"),
    ("a: \u{1}\n", "run.yaml: not valid YAML: control characters are not allowed"),
  ])
  func refuses(_ text: String, _ message: String) throws {
    let error = try #require(throws: UserError.self) { try parse(text) }
    #expect(error.description.hasPrefix(message), "\(error.description)")
  }

  @Test func depthSizeAndEncodingAreBounded() throws {
    let deep = String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
    let error = try #require(throws: UserError.self) { try parse(deep) }
    #expect(error.description == "run.yaml:1: nested deeper than 32 levels")
    #expect(throws: UserError.self) { try parse(String(repeating: "[", count: 100_000)) }
    #expect(throws: UserError.self) {
      try YAMLDocument.parse(
        [UInt8](repeating: 0x20, count: YAMLDocument.byteLimit + 1), path: "x")
    }
    #expect(throws: UserError.self) { try YAMLDocument.parse([0x61, 0x3A, 0x20, 0xFF], path: "x") }
  }

  @Test(arguments: [
    "plain", "", "true", "1", "a: b # c", "two\nlines\tand \\ \" '",
    "\u{85}\u{2028}\u{FEFF}\u{7F}\u{0}",
    "日本 😀", "- x", "{input}\r\n", " spaces ",
  ])
  func writtenTextReadsBack(_ text: String) throws {
    let written = YAMLWriter.line("name", .string(text)) + YAMLWriter.line("list", [.string(text)])
    #expect(try parse(written).root == ["name": .string(text), "list": [.string(text)]])
  }

  @Test(arguments: [0.1, 1e-8, 2e-4, 5e22, 1.0, -0.0, 123456789.125])
  func writtenNumbersReadBackExactly(_ number: Double) throws {
    let read = try parse(YAMLWriter.line("x", .double(number))).root["x"]?.doubleValue
    #expect(read?.bitPattern == number.bitPattern)
  }

  @Test func damagedFilesAreReadOrRefused() {
    // xorshift64 from a fixed seed, so that a failure comes back.
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    func random(below bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    let text =
      "lr: 2e-4\nlist: [a, 'b', {c: 1}]\nblock: |\n  x\n  y\nnested:\n  - 1\n  - k: \"\\n\"\n"
    let interesting = Array("[]{}:-?*&!|>'\"%@`#,\n\t \\\0~".utf8) + [0xFF, 0xC3, 0x80]
    for _ in 0..<5000 {
      var bytes = Array(text.utf8)
      for _ in 0...random(below: 4) {
        let position = random(below: bytes.count)
        switch random(below: 3) {
        case 0: bytes[position] = interesting[random(below: interesting.count)]
        case 1: bytes.insert(interesting[random(below: interesting.count)], at: position)
        default: bytes.removeSubrange(position..<min(bytes.count, position + 1 + random(below: 5)))
        }
        if bytes.isEmpty { break }
      }
      do throws(UserError) {
        _ = try YAMLDocument.parse(bytes, path: "run.yaml")
      } catch {
        #expect(error.location.hasPrefix("run.yaml"))
      }
    }
  }
}
