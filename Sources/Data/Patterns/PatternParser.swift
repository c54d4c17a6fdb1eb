/// Reads regular expressions in the syntax of Oniguruma, which Hugging Face's tokenizers use.
///
/// What cannot be matched in linear time (back references) or is not known is an error.
struct PatternParser {
  private struct Flags {
    var ignoresCase = false
    var dotMatchesNewline = false
  }

  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var flags = Flags()
  private var depth = 0

  private static let depthLimit = 64
  private static let repetitionLimit = 1000
  static let lengthLimit = 1 << 14
  private static let newline = ScalarSet("\n")

  /// Parses `text`.
  static func parse(_ text: String) throws(PatternError) -> PatternNode {
    var parser = PatternParser(scalars: Array(text.unicodeScalars))
    guard parser.scalars.count <= lengthLimit else {
      throw PatternError(reason: "it has more than \(lengthLimit) characters")
    }
    let node = try parser.choice()
    guard parser.position == parser.scalars.count else { throw parser.error("a ) without (") }
    return node
  }

  private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

  private func error(_ reason: String) -> PatternError {
    PatternError(reason: "\(reason) at character \(position)")
  }

  private var peek: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func take(_ text: String) -> Bool {
    let wanted = Array(text.unicodeScalars)
    guard scalars[position...].starts(with: wanted) else { return false }
    position += wanted.count
    return true
  }

  private mutating func pop() throws(PatternError) -> Unicode.Scalar {
    guard let scalar = peek else { throw error("unexpected end") }
    position += 1
    return scalar
  }

  private mutating func choice() throws(PatternError) -> PatternNode {
    depth += 1
    guard depth <= Self.depthLimit else { throw error("more than \(Self.depthLimit) groups deep") }
    defer { depth -= 1 }
    // Options set inside a group hold to its end.
    let outer = flags
    defer { flags = outer }
    var branches: [PatternNode] = []
    repeat { branches.append(try sequence()) } while take("|")
    return branches.count == 1 ? branches[0] : .choice(branches)
  }

  private mutating func sequence() throws(PatternError) -> PatternNode {
    var parts: [PatternNode] = []
    while let scalar = peek, scalar != "|", scalar != ")" {
      let isLiteral = !#"\[(.^$"#.unicodeScalars.contains(scalar)
      if flags.ignoresCase, isLiteral, position > 0 {
        try checkFolding(scalars[position - 1], scalar)
      }
      parts.append(try quantified(try atom()))
    }
    return parts.count == 1 ? parts[0] : .sequence(parts)
  }

  /// Ignoring case, some pairs equal one character (ss and ß), which is not supported.
  private func checkFolding(_ first: Unicode.Scalar, _ second: Unicode.Scalar) throws(PatternError)
  {
    let pair = "\(first)\(second)".lowercased()
    if ["ss", "ff", "fi", "fl", "st"].contains(pair) {
      throw error("\"\(pair)\" without regard to case, which is not supported,")
    }
  }

  // MARK: Repetition

  private mutating func quantified(_ atom: PatternNode) throws(PatternError) -> PatternNode {
    var node = atom
    while let (minimum, maximum, isBraced) = try quantifier() {
      var greed = PatternNode.Greed.greedy
      if isBraced {
        // As Oniguruma reads {n}?: the whole may be missing. {n,m}+ repeats the whole.
        if maximum == minimum, take("?") {
          let inner = PatternNode.repetition(node, minimum: minimum, maximum: maximum, .greedy)
          node = .repetition(inner, minimum: 0, maximum: 1, .greedy)
          continue
        }
        if take("?") { greed = .lazy }
      } else if take("?") {
        greed = .lazy
      } else if take("+") {
        greed = .possessive
      }
      guard greed == .possessive else {
        node = .repetition(node, minimum: minimum, maximum: maximum, greed)
        continue
      }
      guard let set = node.characters else {
        throw error("a possessive repetition of more than one character, which is not supported,")
      }
      node = .possessive(set, minimum: minimum, maximum: maximum)
    }
    return node
  }

  private mutating func quantifier() throws(PatternError) -> (Int, Int?, isBraced: Bool)? {
    if take("*") { return (0, nil, false) }
    if take("+") { return (1, nil, false) }
    if take("?") { return (0, 1, false) }
    guard peek == "{" else { return nil }
    let start = position
    position += 1
    let lower = try count()
    let hasComma = take(",")
    let upper = hasComma ? try count() : lower
    guard lower != nil || upper != nil, take("}") else {
      // Braces that are no repetition stand for themselves.
      position = start
      return nil
    }
    if let lower, let upper, lower > upper { throw error("a repetition {\(lower),\(upper)}") }
    return (lower ?? 0, upper, true)
  }

  private mutating func count() throws(PatternError) -> Int? {
    var value: Int?
    while let scalar = peek, ("0"..."9").contains(scalar) {
      position += 1
      value = (value ?? 0) * 10 + Int(scalar.value - 48)
      if let value, value > Self.repetitionLimit {
        throw error("a repetition of more than \(Self.repetitionLimit)")
      }
    }
    return value
  }

  // MARK: Atoms

  private mutating func atom() throws(PatternError) -> PatternNode {
    let scalar = try pop()
    switch scalar {
    case "(": return try group()
    case "[": return .set(try characterClass())
    case ".": return .set(flags.dotMatchesNewline ? .all : Self.newline.inverted)
    case "^": return .previous(Self.newline, orStart: true)
    case "$": return .next(Self.newline, orEnd: true)
    case "\\": return try escape()
    case "*", "+", "?": throw error("nothing to repeat")
    default: return .set(try literal(scalar))
    }
  }

  /// One character, with its other cases where they do not count.
  private func literal(_ scalar: Unicode.Scalar) throws(PatternError) -> ScalarSet {
    let set = ScalarSet(scalar)
    return flags.ignoresCase ? try foldingCase(set) : set
  }

  private func foldingCase(_ set: ScalarSet) throws(PatternError) -> ScalarSet {
    var ranges = set.ranges
    for upper in UInt32(65)...90 where set.contains(upper) || set.contains(upper + 32) {
      ranges += [upper...upper, upper + 32...upper + 32]
      // The long s and the Kelvin sign are s and k in another case.
      if upper == 83 { ranges.append(0x17F...0x17F) }
      if upper == 75 { ranges.append(0x212A...0x212A) }
    }
    if let other = set.ranges.last, other.upperBound > 127, other.lowerBound == other.upperBound {
      throw error("a character beyond ASCII without regard to case, which is not supported,")
    }
    return ScalarSet(union: ranges)
  }

  private mutating func group() throws(PatternError) -> PatternNode {
    guard take("?") else { return try close(try choice()) }
    if take(":") { return try close(try choice()) }
    if take("=") { return try ahead(isNegated: false) }
    if take("!") { return try ahead(isNegated: true) }
    if take("<=") { return try behind(isNegated: false) }
    if take("<!") { return try behind(isNegated: true) }
    if take(">") {
      let node = try close(try choice())
      // One character has no other way to match; of a repetition the possessive form is meant.
      if node.characters != nil { return node }
      if case .repetition(let inner, let minimum, let maximum, .greedy) = node,
        let set = inner.characters
      {
        return .possessive(set, minimum: minimum, maximum: maximum)
      }
      throw error("an atomic group of more than one repeated character, which is not supported,")
    }
    if take("<") {
      while try pop() != ">" {}
      return try close(try choice())
    }
    return try options()
  }

  private mutating func close(_ node: PatternNode) throws(PatternError) -> PatternNode {
    guard take(")") else { throw error("a ( without )") }
    return node
  }

  private mutating func options() throws(PatternError) -> PatternNode {
    let outer = flags
    var isOn = true
    while true {
      switch try pop() {
      case "i": flags.ignoresCase = isOn
      case "m": flags.dotMatchesNewline = isOn
      case "-": isOn = false
      case ")":
        // To the end of the group, alternatives included.
        return try choice()
      case ":":
        let node = try close(try choice())
        flags = outer
        return node
      case let other: throw error("the option \"\(other)\", which is not supported,")
      }
    }
  }

  private mutating func ahead(isNegated: Bool) throws(PatternError) -> PatternNode {
    let node = try close(try choice())
    guard let (set, orEnd) = node.lookAhead else { return .ahead(node, isNegated: isNegated) }
    return isNegated ? .next(set.inverted, orEnd: !orEnd) : .next(set, orEnd: orEnd)
  }

  private mutating func behind(isNegated: Bool) throws(PatternError) -> PatternNode {
    guard let set = try close(try choice()).characters else {
      throw error("a look behind at other than one character, which is not supported,")
    }
    return .previous(isNegated ? set.inverted : set, orStart: isNegated)
  }

  private mutating func escape() throws(PatternError) -> PatternNode {
    let word = UnicodeClass.word
    let other = word.inverted
    let edge: [PatternNode] = [
      .sequence([.previous(word, orStart: false), .next(other, orEnd: true)]),
      .sequence([.previous(other, orStart: true), .next(word, orEnd: false)]),
    ]
    let inside: [PatternNode] = [
      .sequence([.previous(word, orStart: false), .next(word, orEnd: false)]),
      .sequence([.previous(other, orStart: true), .next(other, orEnd: true)]),
    ]
    switch peek {
    case "b": position += 1; return .choice(edge)
    case "B": position += 1; return .choice(inside)
    case "A": position += 1; return .previous(ScalarSet(), orStart: true)
    case "z": position += 1; return .next(ScalarSet(), orEnd: true)
    case "Z":
      position += 1
      let end = PatternNode.next(ScalarSet(), orEnd: true)
      return .choice([end, .ahead(.sequence([.set(Self.newline), end]), isNegated: false)])
    default: return .set(try escapedSet(inClass: false))
    }
  }
}

// MARK: Character classes

extension PatternParser {
  /// What follows a backslash, as a set.
  private mutating func escapedSet(inClass: Bool) throws(PatternError) -> ScalarSet {
    let scalar = try pop()
    switch scalar {
    case "d": return UnicodeClass.digit
    case "D": return UnicodeClass.digit.inverted
    case "w": return UnicodeClass.word
    case "W": return UnicodeClass.word.inverted
    case "s": return UnicodeClass.space
    case "S": return UnicodeClass.space.inverted
    case "h", "H":
      let set = ScalarSet(union: [48...57, 65...70, 97...102])
      return scalar == "h" ? set : set.inverted
    case "p", "P": return try property(isNegated: scalar == "P")
    default:
      position -= 1
      return try literal(try escapedScalar(inClass: inClass))
    }
  }

  /// What follows a backslash, as one character.
  private mutating func escapedScalar(inClass: Bool) throws(PatternError) -> Unicode.Scalar {
    let scalar = try pop()
    switch scalar {
    case "n": return "\n"
    case "r": return "\r"
    case "t": return "\t"
    case "f": return "\u{0C}"
    case "v": return "\u{0B}"
    case "a": return "\u{07}"
    case "e": return "\u{1B}"
    case "b" where inClass: return "\u{08}"
    case "0": return "\0"
    case "u": return try hexadecimal(4...4)
    case "x":
      if take("{") {
        let value = try hexadecimal(1...8)
        guard take("}") else { throw error("a \\x{ without }") }
        return value
      }
      let value = try hexadecimal(1...2)
      guard value.isASCII else { throw error("a byte beyond ASCII") }
      return value
    case let other
    where other.isASCII && (other.properties.isAlphabetic || other.value < 58 && other.value > 48):
      throw error("\"\\\(other)\", which is not supported,")
    default: return scalar
    }
  }

  private mutating func hexadecimal(_ count: ClosedRange<Int>) throws(PatternError)
    -> Unicode.Scalar
  {
    var digits = ""
    while digits.utf8.count < count.upperBound, let scalar = peek,
      scalar.isASCII, scalar.properties.isASCIIHexDigit
    {
      digits.unicodeScalars.append(scalar)
      position += 1
    }
    guard digits.utf8.count >= count.lowerBound, let value = UInt32(digits, radix: 16),
      let scalar = Unicode.Scalar(value)
    else { throw error("a character that does not exist") }
    return scalar
  }

  private mutating func property(isNegated: Bool) throws(PatternError) -> ScalarSet {
    var name = ""
    var isNegated = isNegated
    if take("{") {
      if take("^") { isNegated.toggle() }
      while true {
        let scalar = try pop()
        if scalar == "}" { break }
        if ![" ", "_", "-"].contains(scalar) { name.unicodeScalars.append(scalar) }
      }
    } else {
      name = String(try pop())
    }
    name = name.lowercased()
    let longNames = [
      "letter": "l", "mark": "m", "number": "n", "punctuation": "p", "symbol": "s",
      "separator": "z", "other": "c", "uppercaseletter": "lu", "lowercaseletter": "ll",
      "titlecaseletter": "lt", "modifierletter": "lm", "otherletter": "lo",
      "decimalnumber": "nd", "nonspacingmark": "mn",
    ]
    if flags.ignoresCase, ["lu", "ll", "lt"].contains(longNames[name] ?? name) {
      throw error("\\p{\(name)} without regard to case, which is not supported,")
    }
    guard
      let set = UnicodeCategory.set(named: longNames[name] ?? name)
        ?? UnicodeScript.set(named: name) ?? Self.named(name)
    else { throw error("the property \"\(name)\", which is not known,") }
    return isNegated ? set.inverted : set
  }

  private static func named(_ name: String) -> ScalarSet? {
    switch name {
    case "any": .all
    case "alnum":
      ScalarSet(
        union: UnicodeClass.letter.ranges + UnicodeClass.mark.ranges + UnicodeClass.digit.ranges)
    case "digit": UnicodeClass.digit
    case "space": UnicodeClass.space
    case "word": UnicodeClass.word
    case "cntrl": UnicodeCategory.set(named: "cc")
    case "xdigit": ScalarSet(union: [48...57, 65...70, 97...102])
    default: nil
    }
  }

  /// What follows `[`.
  private mutating func characterClass() throws(PatternError) -> ScalarSet {
    depth += 1
    guard depth <= Self.depthLimit else { throw error("more than \(Self.depthLimit) groups deep") }
    defer { depth -= 1 }
    let isNegated = take("^")
    var ranges: [ClosedRange<UInt32>] = []
    var intersection: ScalarSet?
    var isFirst = true
    while true {
      if take("&&") {
        let left = ScalarSet(union: ranges)
        intersection = intersection?.intersection(left) ?? left
        ranges = []
        continue
      }
      if peek == "]", !isFirst {
        position += 1
        break
      }
      isFirst = false
      ranges += try classItem().ranges
    }
    var set = ScalarSet(union: ranges)
    if let intersection { set = set.intersection(intersection) }
    return isNegated ? set.inverted : set
  }

  /// A character, a range, a class inside the class, or a named one.
  private mutating func classItem() throws(PatternError) -> ScalarSet {
    if peek == "[", position + 1 < scalars.count, scalars[position + 1] == ":" {
      position += 2
      let isNegated = take("^")
      var name = ""
      while let scalar = peek, scalar != ":" {
        name.unicodeScalars.append(scalar)
        position += 1
      }
      guard take(":]"), let set = name == "alpha" ? nil : Self.named(name) else {
        throw error("the class [:\(name):], which is not supported,")
      }
      return isNegated ? set.inverted : set
    }
    if take("[") { return try characterClass() }
    let start = position
    var low = try pop()
    if low == "\\" {
      let next = peek.map { "dDwWsShHpP".unicodeScalars.contains($0) } ?? false
      if next { return try escapedSet(inClass: true) }
      low = try escapedScalar(inClass: true)
    }
    guard peek == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
      return try literal(low)
    }
    position += 1
    if peek == "[" || scalars[position...].starts(with: "&&".unicodeScalars) {
      // The dash before a class stands for itself.
      return try literal(low).union(try literal("-"))
    }
    var high = try pop()
    if high == "\\" { high = try escapedScalar(inClass: true) }
    guard low.value <= high.value else {
      position = start
      throw error("a range whose end is before its start")
    }
    let set = ScalarSet(low.value...high.value)
    return flags.ignoresCase ? try foldingCase(set) : set
  }
}
