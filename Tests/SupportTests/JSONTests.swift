import Support
import Testing

@Suite struct JSONTests {
  @Test func parsesEveryKindAndKeepsOrder() throws {
    let value = try JSONParser.parse(
      #" {"b": [1, -2.5e3, true, null], "a": "x\u00e9\ud83d\ude00\n"} "#)
    #expect(value["b"] == [1, -2500.0, true, .null])
    #expect(value["a"] == "xé😀\n")
    #expect(value.objectValue?.names == ["b", "a"])
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\":1,\"a\":2}", "01", "1e999", "\"\\ud800\"", "nul", "[1] 2", "\"\t\"",
    "NaN", "{\"a\" 1}", "\"abc",
  ])
  func refuses(_ text: String) {
    #expect(throws: JSONError.self) { try JSONParser.parse(text) }
  }

  @Test func depthIsBounded() {
    #expect(throws: JSONError.self) {
      try JSONParser.parse(String(repeating: "[", count: 100_000))
    }
  }

  @Test(arguments: [0.1, 1e-300, 123456789.125, 6.583856344223023, -0.0, 5e22])
  func numbersReadBackExactly(_ number: Double) throws {
    let text = JSONValue.double(number).compactText
    #expect(try JSONParser.parse(text).doubleValue?.bitPattern == number.bitPattern)
  }

  /// "é" as one scalar and as two are different names, though equal as `String`s.
  @Test func namesCompareByteForByte() throws {
    let value = try JSONParser.parse("{\"\u{E9}\": 1, \"e\u{301}\": 2}")
    #expect(value["\u{E9}"] == 1)
    #expect(value["e\u{301}"] == 2)
    #expect(throws: JSONError.self) { try JSONParser.parse("{\"\u{E9}\": 1, \"\u{E9}\": 2}") }
  }
}
