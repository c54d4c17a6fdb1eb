import Data
import Support
import Testing

@Suite struct LongestMatcherTests {
  /// The obvious way: every pattern at every position.
  static func slowMatches(_ patterns: [(bytes: [UInt8], value: Int32)], _ text: [UInt8])
    -> [LongestMatcher.Match]
  {
    text.indices.compactMap { start in
      var best: LongestMatcher.Match?
      for (bytes, value) in patterns
      where !bytes.isEmpty && text[start...].starts(with: bytes)
        && bytes.count > (best.map { $0.end - $0.start } ?? 0)
      {
        best = LongestMatcher.Match(start: start, end: start + bytes.count, value: value)
      }
      return best
    }
  }

  @Test func randomVocabulariesEqualTheSlowWay() {
    var state: UInt64 = 11
    func random(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    func word(_ letters: Int, _ length: Int) -> [UInt8] {
      (0..<length).map { _ in UInt8(97 + random(letters)) }
    }
    var matchCount = 0
    for round in 0..<3000 {
      let letters = 1 + round % 4
      let patterns = (0..<random(9)).map {
        (bytes: word(letters, random(7)), value: Int32($0))
      }
      let text = word(letters + round % 2, random(40))
      let expected = Self.slowMatches(patterns, text)
      matchCount += expected.count
      #expect(LongestMatcher(patterns).matches(in: text) == expected, "\(patterns) \(text)")
    }
    #expect(matchCount > 10_000)
  }

  /// Long strings that nearly match everywhere cost no more than short ones.
  @Test(.timeLimit(.minutes(1))) func timeDoesNotDependOnTheirLength() throws {
    let long = [UInt8](repeating: 97, count: 1023)
    let matcher = LongestMatcher([(long + [98], 0), ([98] + long, 1), ([97], 2)])
    let text = [UInt8](repeating: 97, count: 10_000_000)
    #expect(matcher.matches(in: text).count == text.count)
    // White space that tokens take along is walked over once.
    var fixture = TokenizerJSONFixture()
    fixture.addedTokens.append([
      "id": 11, "content": "\n", "special": true, "normalized": false, "lstrip": true,
      "rstrip": true,
    ])
    let ids = try fixture.tokenizer().encode(
      "a" + String(repeating: " \n", count: 500_000) + "a", isContinuation: true)
    #expect(ids.count == 500_002)
  }
}
