import Data
import Testing

/// The regular expressions of tokenizers.
@Suite struct PatternTests {
  /// Matches as `start..<end` of bytes.
  static func matches(_ pattern: Pattern, _ text: String) throws -> [Range<Int>] {
    let bytes = Array(text.utf8)
    var found: [Range<Int>] = []
    try pattern.forEachMatch(in: bytes, 0..<bytes.count) { found.append($0..<$1) }
    return found
  }

  static func texts(_ pattern: String, _ text: String) throws -> [String] {
    let bytes = Array(text.utf8)
    return try matches(try Pattern(pattern), text).map {
      String(decoding: bytes[$0], as: UTF8.self)
    }
  }

  @Test func leftmostAndFirstAlternative() throws {
    #expect(try Self.texts("a|ab", "abab") == ["a", "a"])
    #expect(try Self.texts("ab|a", "abab") == ["ab", "ab"])
    #expect(try Self.texts("a+?", "aaa") == ["a", "a", "a"])
    #expect(try Self.texts("a{2}", "aaaaa") == ["aa", "aa"])
    #expect(try Self.texts("a{,2}b", "aaab") == ["aab"])
    #expect(try Self.texts(#"\d{1,2}+"#, "12345") == ["12345"])
    #expect(try Self.texts("a{x}", "a{x}") == ["a{x}"])
    #expect(try Self.texts("(a|b)*c", "abac c") == ["abac", "c"])
  }

  @Test func whiteSpaceBeforeWords() throws {
    #expect(try Self.texts(#"\s+(?!\S)|\s+|\S+"#, "a   b ") == ["a", "  ", " ", "b", " "])
    #expect(try Self.texts(#"\s+$|x"#, "  x  ") == ["x", "  "])
    #expect(try Self.texts(#" ?[^\s\p{L}]++"#, " ...a") == [" ..."])
    #expect(try Self.texts(#"a?+ab"#, "aab ab") == ["aab"])
  }

  @Test func classes() throws {
    #expect(try Self.texts(#"[^\W\d]+"#, "ab12\u{E9}") == ["ab", "\u{E9}"])
    #expect(try Self.texts("[a-c&&[^b]]+", "abcb") == ["a", "c"])
    #expect(
      try Self.texts(#"\p{Han}+|\p{Hangul}+"#, "\u{4F60}\u{AC00}x") == ["\u{4F60}", "\u{AC00}"])
    #expect(try Self.texts(#"\p{^L}|\P{L}"#, "a1") == ["1"])
    #expect(try Self.texts(#"[]a]+"#, "a]b") == ["a]"])
    #expect(try Self.texts(#"(?i:'S|k)"#, "'\u{17F} \u{212A}K") == ["'\u{17F}", "\u{212A}", "K"])
    #expect(try Self.texts(#"\x{1F600}|\u00e9"#, "\u{E9}\u{1F600}") == ["\u{E9}", "\u{1F600}"])
  }

  @Test func looks() throws {
    #expect(try Self.texts(#"\bab\b"#, "ab cab ab") == ["ab", "ab"])
    #expect(try Self.texts("(?<!a)b", "abb") == ["b"])
    #expect(
      try Self.texts(#"\d{1,3}(?=(?:\d{3})*(?!\d))"#, "1234567 12") == ["1", "234", "567", "12"])
    #expect(try Self.texts("^a|b$", "ab\nab") == ["a", "b", "a", "b"])
    // Empty matches, none of them right behind another match.
    let empty = try Self.matches(try Pattern("a*"), "baac")
    #expect(empty == [0..<0, 1..<3, 4..<4])
  }

  @Test func whatIsNotKnownIsAnError() {
    let patterns = [
      "(", ")", "a)", "[a", "*", #"\1"#, #"(a)\k<x>"#, "(?<=ab)c", "(?>ab|c)d", "(?x) a",
      #"\p{No such}"#,
      "[z-a]", "a{3,2}", "a{2000}", #"\xff"#, "(ab)++", "(?i:ss)", "(((a{1000}){1000}){1000})",
      String(repeating: "(", count: 100), #"\"#, "(?i:\u{E9})", "(?", "(?<a", "[[:foo:]]",
    ]
    for pattern in patterns {
      let isKnown = (try? Pattern(pattern)) != nil
      #expect(!isKnown, "\(pattern)")
    }
  }

  /// Patterns that make a backtracking matcher hang, and those that make every search run to the end.
  @Test(
    .timeLimit(.minutes(1)),
    arguments: [
      ("(a|a)*b", "a"), ("(a*)*b", "a"), ("(a+)+$", "a"), ("a*b|a", "a"), (#"\s+$"#, " "),
      ("(?:a?){50}a{50}b", "a"), ("(a|b)*a(a|b){12}c", "a"), (".*.*=.*", "x"),
    ])
  func hostilePatternsTakeLinearTime(_ pattern: String, _ unit: String) throws {
    let compiled = try Pattern(pattern)
    let text = String(repeating: unit, count: 300_000) + "!"
    _ = try Self.matches(compiled, text)
  }

  /// Short patterns of thousands of places whose table would take seconds to make.
  @Test(.timeLimit(.minutes(1))) func largePatternsArePreparedQuickly() throws {
    let classes = (1...60).map { "|[a-\(Character(Unicode.Scalar(0x400 + $0) ?? "b"))]x" }.joined()
    for _ in 0..<40 {
      let pattern = try Pattern("(?:a\(classes)){0,15}")
      #expect(try Self.matches(pattern, "aaax!") == [0..<3, 4..<4, 5..<5])
    }
    let digits = try Pattern(#"\p{N}{0,600}{1,3}"#)
    #expect(try Self.matches(digits, "12a") == [0..<2, 3..<3])
    #expect(throws: PatternError.self) { try Pattern(#"\p{N}{0,1000}{1,3}"#) }
  }

  /// A pattern as a tree of its own, apart from the program's.
  private indirect enum Node {
    case character((Character) -> Bool)
    case sequence([Node])
    case choice(Node, Node)
    case repetition(Node, Int, Int, isLazy: Bool)
    /// Takes all that come, and gives none back.
    case possessive((Character) -> Bool, Int, Int)
    case look(Int, isNegated: Bool, orEdge: Bool, (Character) -> Bool)
    case ahead(Node, isNegated: Bool)
    case wordEdge
  }

  /// A slow and plain matcher: all ways in order, as a backtracking one tries them.
  private static func reference(_ node: Node, _ text: [Character]) -> [Range<Int>] {
    func character(_ place: Int) -> Character? { text.indices.contains(place) ? text[place] : nil }
    func isWord(_ place: Int) -> Bool { character(place).map { $0 != "\n" } ?? false }
    func ends(_ node: Node, _ start: Int) -> [Int] {
      switch node {
      case .character(let isIn): return character(start).map(isIn) == true ? [start + 1] : []
      case .sequence(let parts):
        var places = [start]
        for part in parts { places = unique(places.flatMap { ends(part, $0) }) }
        return places
      case .choice(let first, let second): return unique(ends(first, start) + ends(second, start))
      case .repetition(let inner, let minimum, let maximum, let isLazy):
        // An unbounded repetition ends where it would stand still.
        func more(_ place: Int, _ count: Int) -> [Int] {
          if count < minimum { return ends(inner, place).flatMap { more($0, count + 1) } }
          let further =
            count < maximum
            ? ends(inner, place).filter { $0 > place || maximum < 99 }.flatMap {
              more($0, count + 1)
            } : []
          return isLazy ? [place] + further : further + [place]
        }
        return unique(more(start, 0))
      case .possessive(let isIn, let minimum, let maximum):
        var place = start
        while place - start < maximum, character(place).map(isIn) == true { place += 1 }
        return place - start >= minimum ? [place] : []
      case .look(let offset, let isNegated, let orEdge, let isIn):
        let holds = character(start + offset).map { isIn($0) != isNegated } ?? orEdge
        return holds ? [start] : []
      case .ahead(let inner, let isNegated):
        return ends(inner, start).isEmpty == isNegated ? [start] : []
      case .wordEdge: return isWord(start - 1) != isWord(start) ? [start] : []
      }
    }
    func unique(_ places: [Int]) -> [Int] {
      var seen = Set<Int>()
      return places.filter { seen.insert($0).inserted }
    }
    var found: [Range<Int>] = []
    var (position, last) = (0, -1)
    while position <= text.count {
      if let end = ends(node, position).first {
        if end > position || end != last { found.append(position..<end) }
        if end > position {
          (position, last) = (end, end)
          continue
        }
      }
      position += 1
    }
    return found
  }

  @Test func randomPatternsEqualThePlainMatcher() throws {
    var state: UInt64 = 5
    func pick(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    func isA(_ character: Character) -> Bool { character == "a" }
    func isB(_ character: Character) -> Bool { character == "b" }
    func isAB(_ character: Character) -> Bool { isA(character) || isB(character) }
    let atoms: [(String, Node)] = [
      ("a", .character(isA)), ("b", .character(isB)), ("c", .character { $0 == "c" }),
      ("[ab]", .character(isAB)), ("[^a]", .character { $0 != "a" }),
      (".", .character { $0 != "\n" }), (#"\b"#, .wordEdge),
      ("(?!a)", .look(0, isNegated: true, orEdge: true, isA)),
      ("(?=b)", .look(0, isNegated: false, orEdge: false, isB)),
      ("(?<!b)", .look(-1, isNegated: true, orEdge: true, isB)),
      ("(?!ab)", .ahead(.sequence([.character(isA), .character(isB)]), isNegated: true)),
      ("^", .look(-1, isNegated: false, orEdge: true) { $0 == "\n" }),
      ("$", .look(0, isNegated: false, orEdge: true) { $0 == "\n" }),
    ]
    func make(_ depth: Int) -> (String, Node) {
      if depth == 0 { return atoms[pick(6)] }
      let (text, node) = make(depth - 1)
      switch pick(9) {
      case 0:
        let (other, second) = make(depth - 1)
        return (text + other, .sequence([node, second]))
      case 1:
        let (other, second) = make(depth - 1)
        return ("(?:\(text)|\(other))", .choice(node, second))
      case 2: return ("(?:\(text))*", .repetition(node, 0, 99, isLazy: false))
      case 3: return ("(?:\(text))+?", .repetition(node, 1, 99, isLazy: true))
      case 4: return ("(?:\(text)){1,2}", .repetition(node, 1, 2, isLazy: false))
      case 5: return ("[ab]?+", .possessive(isAB, 0, 1))
      case 6: return ("a++", .possessive(isA, 1, 99))
      default:
        let (other, second) = atoms[pick(atoms.count)]
        return (text + other, .sequence([node, second]))
      }
    }
    var compared = 0
    for _ in 0..<3000 {
      let (source, node) = make(1 + pick(3))
      guard let pattern = try? Pattern(source) else { continue }
      let text = (0..<pick(9)).map { _ in Character(["a", "b", "c", "\n"][pick(4)]) }
      let found = try Self.matches(pattern, String(text))
      #expect(
        found == Self.reference(node, text), "\(source) on \(String(text).debugDescription)")
      compared += 1
    }
    #expect(compared > 2500)
  }
}
