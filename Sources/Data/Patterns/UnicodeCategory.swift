/// General categories of code points, of the Unicode version that the authors' libraries have.
enum UnicodeCategory: UInt8, CaseIterable {
  case Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So
  case Zs, Zl, Zp, Cc, Cf, Cs, Co, Cn

  /// The code points of each category.
  private static let sets: [ScalarSet] = {
    var ranges = [[ClosedRange<UInt32>]](repeating: [], count: allCases.count)
    var reader = PackedNumbers(encodedRuns)
    var start: UInt32 = 0
    while let category = reader.next(), let count = reader.next() {
      ranges[Int(category)].append(start...start + count - 1)
      start += count
    }
    return ranges.map { ScalarSet(union: $0) }
  }()

  /// The code points of this category.
  var set: ScalarSet { Self.sets[Int(rawValue)] }

  /// The code points of categories whose names begin with `prefix`; nil where there is none.
  static func set(named prefix: String) -> ScalarSet? {
    let members = allCases.filter { "\($0)".lowercased().hasPrefix(prefix) }
    guard !prefix.isEmpty, !members.isEmpty else { return nil }
    return ScalarSet(union: members.flatMap { $0.set.ranges })
  }
}

/// Scripts that patterns may name.
enum UnicodeScript {
  /// The code points of a script by its name in lower case; nil where it is not known.
  static func set(named name: String) -> ScalarSet? {
    guard let entry = encodedRanges.first(where: { $0.name == name }) else { return nil }
    var reader = PackedNumbers(entry.ranges)
    var ranges: [ClosedRange<UInt32>] = []
    var position: UInt32 = 0
    while let gap = reader.next(), let count = reader.next() {
      ranges.append(position + gap...position + gap + count - 1)
      position += gap + count
    }
    return ScalarSet(union: ranges)
  }
}

/// Character classes of regular expressions that are made of categories.
enum UnicodeClass {
  /// What Unicode calls white space.
  static let space = ScalarSet(union: [
    0x09...0x0D, 0x20...0x20, 0x85...0x85, 0xA0...0xA0, 0x1680...0x1680, 0x2000...0x200A,
    0x2028...0x2029, 0x202F...0x202F, 0x205F...0x205F, 0x3000...0x3000,
  ])
  static let digit = UnicodeCategory.Nd.set
  static let number = union("n")
  static let letter = union("l")
  static let mark = union("m")
  static let punctuation = union("p")
  /// Oniguruma's `\w`: letters, marks, numbers and connecting punctuation.
  static let word = ScalarSet(
    union: letter.ranges + mark.ranges + number.ranges + UnicodeCategory.Pc.set.ranges)

  private static func union(_ name: String) -> ScalarSet {
    UnicodeCategory.set(named: name) ?? ScalarSet()
  }
}

/// Reads the numbers of a table: five bits a digit, lowest first, the sixth says that more follow.
struct PackedNumbers {
  private var digits: Substring.UTF8View

  init(_ text: String) { digits = text[...].utf8 }

  mutating func next() -> UInt32? {
    var value: UInt32 = 0
    var shift: UInt32 = 0
    while let byte = digits.popFirst() {
      let digit = Self.value(of: byte)
      value |= (digit & 31) << shift
      if digit < 32 { return value }
      shift += 5
    }
    return nil
  }

  /// The next number with its sign in the lowest bit.
  mutating func nextSigned() -> Int32? {
    next().map { $0 & 1 == 0 ? Int32($0 >> 1) : -Int32($0 >> 1) - 1 }
  }

  private static func value(of byte: UInt8) -> UInt32 {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
    case UInt8(ascii: "+"): 62
    default: 63
    }
  }
}
