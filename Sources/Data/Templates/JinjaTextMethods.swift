/// The methods of Python's `str`.
struct JinjaTextMethods {
  private let text: JinjaText
  private let renderer: JinjaRenderer

  init(_ text: JinjaText, _ renderer: JinjaRenderer) {
    self.text = text
    self.renderer = renderer
  }

  private func result(_ bytes: [UInt8]) throws -> JinjaValue {
    .text(try renderer.checked(JinjaText(bytes, isSafe: text.isSafe)))
  }

  private func result(_ string: String) throws -> JinjaValue { try result(Array(string.utf8)) }

  private func list(_ parts: [ArraySlice<UInt8>]) throws -> JinjaValue {
    try JinjaLimits.checkElements(parts.count)
    return .list(try renderer.list(parts.map { .text(JinjaText(Array($0), isSafe: text.isSafe)) }))
  }

  private static func string(_ value: JinjaValue?, _ name: String) throws -> JinjaText? {
    switch value {
    case nil, .some(.none): return nil
    case .text(let text): return text
    case .undefined(let undefined): throw JinjaError(undefined.message)
    case .some(let value):
      throw JinjaError("\(name)() needs a str, not \(value.typeName)")
    }
  }

  private static func integer(_ value: JinjaValue?, _ name: String) throws -> Int? {
    guard let value else { return nil }
    if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
    guard let number = value.asInteger else {
      throw JinjaError("\(name)() needs an int, not \(value.typeName)")
    }
    return number
  }

  func call(_ name: String, _ call: JinjaCall) throws -> JinjaValue {
    try renderer.charge(text.bytes.count / 16)
    try renderer.chargeTexts(call)
    // A text marked as safe escapes what comes into it; in these methods nothing can.
    let takesText: Set = [
      "center", "format", "join", "ljust", "replace", "rjust", "partition", "rpartition",
    ]
    if text.isSafe, takesText.contains(name) {
      throw JinjaError("\(name)() of a text marked with safe is not supported")
    }
    switch name {
    case "upper", "lower", "casefold", "capitalize", "title", "swapcase":
      _ = try call.bind(name, [])
      return try result(Self.cased(text.string, name))
    case "strip", "lstrip", "rstrip":
      let characters = try Self.string(call.bind(name, ["chars"])[0], name)
      return .text(Self.strip(text, characters, left: name != "rstrip", right: name != "lstrip"))
    case "startswith", "endswith": return try affix(name, call)
    case "removeprefix", "removesuffix":
      let part = try Self.string(call.bind(name, ["affix"], required: 1)[0], name) ?? ""
      if name == "removeprefix" {
        return try result(
          text.hasPrefix(part) ? Array(text.bytes.dropFirst(part.bytes.count)) : text.bytes)
      }
      return try result(
        text.hasSuffix(part) ? Array(text.bytes.dropLast(part.bytes.count)) : text.bytes)
    case "split", "rsplit": return try split(name, call)
    case "splitlines":
      let keeps = try call.bind(name, ["keepends"])[0]?.isTrue ?? false
      return try list(Self.lines(text.bytes, keepsEnds: keeps))
    case "partition", "rpartition":
      guard let separator = try Self.string(call.bind(name, ["sep"], required: 1)[0], name),
        !separator.isEmpty
      else { throw JinjaError("empty separator") }
      let bytes = text.bytes
      let found =
        name == "partition" ? text.firstIndex(of: separator) : text.lastIndex(of: separator)
      guard let found else {
        let parts: [JinjaText] = name == "partition" ? [text, "", ""] : ["", "", text]
        return .tuple(try renderer.list(parts.map { .text($0) }))
      }
      return .tuple(
        try renderer.list([
          .text(JinjaText(bytes[..<found])), .text(separator),
          .text(JinjaText(bytes[(found + separator.bytes.count)...])),
        ]))
    case "replace":
      let values = try call.bind(name, ["old", "new", "count"], required: 2)
      guard let old = try Self.string(values[0], name), let new = try Self.string(values[1], name)
      else { throw JinjaError("replace() needs texts") }
      return .text(
        try Self.replace(text, old, new, try Self.integer(values[2], name) ?? -1, renderer))
    case "join":
      let elements = try renderer.iterate(
        call.bind(name, ["iterable"], required: 1)[0] ?? .none)
      try renderer.charge(elements.count)
      var bytes: [UInt8] = []
      for (index, element) in elements.enumerated() {
        guard case .text(let part) = element else {
          throw JinjaError(
            "sequence item \(index): expected str instance, \(element.typeName) found")
        }
        if index > 0 { bytes += text.bytes }
        bytes += part.bytes
        try JinjaLimits.checkText(bytes.count)
      }
      return .text(try renderer.checked(JinjaText(bytes)))
    case "format": return .text(try JinjaFormat.braces(text, call, renderer))
    case "find", "rfind", "index", "rindex", "count": return try search(name, call)
    case "center", "ljust", "rjust", "zfill": return try padded(name, call)
    case "expandtabs": return try expandTabs(call)
    default:
      _ = try call.bind(name, [])
      return .bool(predicate(name))
    }
  }

  private func predicate(_ name: String) -> Bool {
    let scalars = text.scalars
    func all(_ test: (Unicode.Scalar) -> Bool) -> Bool {
      !scalars.isEmpty && scalars.allSatisfy(test)
    }
    func isAlpha(_ scalar: Unicode.Scalar) -> Bool {
      switch scalar.properties.generalCategory {
      case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
      default: false
      }
    }
    func isNumeric(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.numericType != nil }
    switch name {
    case "isalpha": return all(isAlpha)
    case "isalnum": return all { isAlpha($0) || isNumeric($0) }
    case "isdigit":
      return all { [.decimal, .digit].contains($0.properties.numericType) }
    case "isnumeric": return all(isNumeric)
    case "isspace": return all(JinjaText.isSpace)
    case "isascii": return text.bytes.allSatisfy { $0 < 0x80 }
    case "islower":
      return JinjaCase.isCased(text) && scalars.allSatisfy { !JinjaCase.upper($0) }
    case "isupper":
      return JinjaCase.isCased(text) && scalars.allSatisfy { !JinjaCase.lower($0) }
    default:
      // istitle: an upper case letter begins each run of cased letters, and no other stands in it.
      var followsCased = false
      var hasCased = false
      for scalar in scalars {
        if JinjaCase.upper(scalar) {
          if followsCased { return false }
          (followsCased, hasCased) = (true, true)
        } else if JinjaCase.lower(scalar) {
          if !followsCased { return false }
          hasCased = true
        } else {
          followsCased = false
        }
      }
      return hasCased
    }
  }

  /// A text in another case, as Python's methods of these names write it.
  static func cased(_ text: String, _ name: String) -> String {
    switch name {
    case "upper": return text.unicodeScalars.map(\.properties.uppercaseMapping).joined()
    case "lower": return lowered(text)
    case "casefold":
      // Beyond lower case only few letters fold; templates compare plain words.
      return text.unicodeScalars.map { $0 == "\u{DF}" ? "ss" : $0.properties.lowercaseMapping }
        .joined()
    case "capitalize":
      guard let first = text.unicodeScalars.first else { return text }
      return first.properties.titlecaseMapping
        + lowered(String(text.unicodeScalars.dropFirst()))
    case "swapcase":
      return text.unicodeScalars.map { scalar in
        JinjaCase.upper(scalar)
          ? scalar.properties.lowercaseMapping : scalar.properties.uppercaseMapping
      }.joined()
    default:
      var result = ""
      var followsCased = false
      for scalar in text.unicodeScalars {
        result +=
          followsCased ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping
        followsCased = JinjaCase.upper(scalar) || JinjaCase.lower(scalar)
      }
      return result
    }
  }

  /// Lower case; a capital sigma at the end of a word becomes the final one.
  private static func lowered(_ text: String) -> String {
    guard text.unicodeScalars.contains("\u{3A3}") else {
      return text.unicodeScalars.map(\.properties.lowercaseMapping).joined()
    }
    let scalars = Array(text.unicodeScalars)
    func isCased(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isCased }
    func neighbour(_ indices: some Sequence<Int>) -> Bool {
      for index in indices where !scalars[index].properties.isCaseIgnorable {
        return isCased(scalars[index])
      }
      return false
    }
    return scalars.indices.map { index in
      guard scalars[index] == "\u{3A3}" else { return scalars[index].properties.lowercaseMapping }
      let isFinal =
        neighbour((0..<index).reversed()) && !neighbour(index + 1..<scalars.count)
      return isFinal ? "\u{3C2}" : "\u{3C3}"
    }.joined()
  }

  static func strip(_ text: JinjaText, _ characters: JinjaText?, left: Bool, right: Bool)
    -> JinjaText
  {
    guard let characters else { return text.stripped(left: left, right: right) }
    let set = Set(characters.scalars)
    return text.stripped(left: left, right: right) { set.contains($0) }
  }

  static func replace(
    _ text: JinjaText, _ old: JinjaText, _ new: JinjaText, _ count: Int,
    _ renderer: JinjaRenderer
  ) throws -> JinjaText {
    var rest = count < 0 ? Int.max : count
    if old.isEmpty {
      // Between all characters.
      try renderer.charge(text.count)
      try JinjaLimits.checkElements(text.count)
      var bytes: [UInt8] = []
      for character in text.characters {
        if rest > 0 {
          bytes += new.bytes
          rest -= 1
        }
        bytes += character.bytes
        try JinjaLimits.checkText(bytes.count)
      }
      if rest > 0 { bytes += new.bytes }
      return try renderer.checked(JinjaText(bytes))
    }
    var bytes: [UInt8] = []
    var position = 0
    let search = JinjaTextSearch(first: old)
    while rest > 0,
      let found = search.first(in: text.bytes, from: position, to: text.bytes.count)
    {
      bytes += text.bytes[position..<found]
      bytes += new.bytes
      try renderer.charge()
      try JinjaLimits.checkText(bytes.count)
      position = found + old.bytes.count
      rest -= 1
    }
    bytes += text.bytes[position...]
    return try renderer.checked(JinjaText(bytes))
  }

  private func affix(_ name: String, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind(name, ["prefix", "start", "end"], required: 1)
    var part = text
    if values[1] != nil || values[2] != nil {
      let range = try bounds(values[1], values[2], name)
      guard let range else { return .bool(false) }
      part = text.slice(range)
    }
    var candidates = [values[0] ?? .none]
    try renderer.charge(candidates[0].weight / 4)
    if case .tuple(let list)? = values[0] { candidates = list.elements }
    return .bool(
      try candidates.contains { candidate in
        guard case .text(let affix) = candidate else {
          throw JinjaError(
            "\(name) first arg must be str or a tuple of str, not \(candidate.typeName)")
        }
        return name == "startswith" ? part.hasPrefix(affix) : part.hasSuffix(affix)
      })
  }

  /// Scalars from `start` to `end` as Python clips them; nil when the range is none.
  private func bounds(_ start: JinjaValue?, _ end: JinjaValue?, _ name: String) throws
    -> Range<Int>?
  {
    func clip(_ value: JinjaValue?, _ whenMissing: Int) throws -> Int {
      guard let value, !value.isNone, let number = try Self.integer(value, name) else {
        return whenMissing
      }
      return number < 0 ? max(0, number + text.count) : number
    }
    let lower = try clip(start, 0)
    let upper = min(try clip(end, text.count), text.count)
    return lower <= upper ? lower..<upper : nil
  }

  private func search(_ name: String, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind(name, ["sub", "start", "end"], required: 1)
    guard let part = try Self.string(values[0], name) else { throw JinjaError("must be str") }
    let range = try bounds(values[1], values[2], name)
    if name == "count" {
      guard let range else { return .integer(0) }
      if part.isEmpty { return .integer(range.count + 1) }
      var count = 0
      var position = text.byteOffset(ofScalar: range.lowerBound)
      let end = text.byteOffset(ofScalar: range.upperBound)
      let search = JinjaTextSearch(first: part)
      while let found = search.first(in: text.bytes, from: position, to: end) {
        count += 1
        position = found + part.bytes.count
      }
      return .integer(count)
    }
    var found: Int?
    if let range {
      let lower = text.byteOffset(ofScalar: range.lowerBound)
      let upper = text.byteOffset(ofScalar: range.upperBound)
      found =
        name.hasPrefix("r")
        ? text.lastIndex(of: part, to: upper).flatMap { $0 >= lower ? $0 : nil }
        : text.firstIndex(of: part, from: lower, to: upper)
    }
    guard let found else {
      if name.hasSuffix("index") { throw JinjaError("substring not found") }
      return .integer(-1)
    }
    return .integer(JinjaText(text.bytes[..<found]).count)
  }

  private func padded(_ name: String, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind(
      name, name == "zfill" ? ["width"] : ["width", "fillchar"], required: 1)
    let width = try Self.integer(values[0], name) ?? 0
    guard width > text.count else { return .text(text) }
    let missing = width - text.count
    try renderer.checkSize(missing)
    if name == "zfill" {
      let signed = text.bytes.first == UInt8(ascii: "-") || text.bytes.first == UInt8(ascii: "+")
      let zeros = [UInt8](repeating: UInt8(ascii: "0"), count: missing)
      return try result(
        Array(text.bytes.prefix(signed ? 1 : 0)) + zeros + text.bytes.dropFirst(signed ? 1 : 0))
    }
    let fill = try values.count > 1 ? Self.string(values[1], name) ?? " " : " "
    guard fill.count == 1 else {
      throw JinjaError("the fill character must be exactly one character long")
    }
    func filler(_ count: Int) -> [UInt8] { Array(repeatElement(fill.bytes, count: count).joined()) }
    switch name {
    case "ljust": return try result(text.bytes + filler(missing))
    case "rjust": return try result(filler(missing) + text.bytes)
    default:
      // Python puts the odd one to the left only when the width is odd.
      let left = missing / 2 + (missing & width & 1)
      return try result(filler(left) + text.bytes + filler(missing - left))
    }
  }

  private func expandTabs(_ call: JinjaCall) throws -> JinjaValue {
    let size = try Self.integer(call.bind("expandtabs", ["tabsize"])[0], "expandtabs") ?? 8
    var result = String.UnicodeScalarView()
    var column = 0
    var byteCount = text.bytes.count
    for scalar in text.scalars {
      if scalar == "\t" {
        let count = size > 0 ? size - column % size : 0
        try JinjaLimits.checkText(count)
        byteCount += count
        try JinjaLimits.checkText(byteCount)
        result.append(contentsOf: repeatElement(" ", count: count))
        column += count
      } else {
        result.append(scalar)
        column = scalar == "\n" || scalar == "\r" ? 0 : column + 1
      }
    }
    return try self.result(String(result))
  }
}

extension JinjaTextMethods {
  private func split(_ name: String, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind(name, ["sep", "maxsplit"])
    let limit = try Self.integer(values[1], name) ?? -1
    let count = limit < 0 ? Int.max : limit
    guard let separator = try Self.string(values[0], name) else {
      return try list(name == "split" ? spaceSplit(count) : spaceSplitFromRight(count))
    }
    guard !separator.isEmpty else { throw JinjaError("empty separator") }
    let bytes = text.bytes
    var parts: [ArraySlice<UInt8>] = []
    if name == "split" {
      let search = JinjaTextSearch(first: separator)
      var position = 0
      while parts.count < count,
        let found = search.first(in: bytes, from: position, to: bytes.count)
      {
        parts.append(bytes[position..<found])
        position = found + separator.bytes.count
      }
      parts.append(bytes[position...])
    } else {
      let search = JinjaTextSearch(last: separator)
      var end = bytes.count
      while parts.count < count, let found = search.last(in: bytes, to: end) {
        parts.append(bytes[(found + separator.bytes.count)..<end])
        end = found
      }
      parts.append(bytes[..<end])
      parts.reverse()
    }
    return try list(parts)
  }

  /// Runs of what is no white space, and after so many of them the rest.
  private func spaceSplit(_ count: Int) -> [ArraySlice<UInt8>] {
    let bytes = text.bytes
    var parts: [ArraySlice<UInt8>] = []
    var position = 0
    while true {
      while case let length = JinjaText.spaceLength(bytes, at: position), length > 0 {
        position += length
      }
      guard position < bytes.count else { return parts }
      if parts.count == count {
        let rest = JinjaText(bytes[position...]).stripped(left: false, right: true)
        return parts + [bytes[position..<position + rest.bytes.count]]
      }
      let start = position
      while position < bytes.count, JinjaText.spaceLength(bytes, at: position) == 0 {
        position += UTF8Scanner.length(bytes[position])
      }
      parts.append(bytes[start..<position])
    }
  }

  private func spaceSplitFromRight(_ count: Int) -> [ArraySlice<UInt8>] {
    let words = spaceSplit(.max)
    guard words.count > count else { return words }
    let kept = words.suffix(count)
    let head = text.bytes[..<(words[words.count - count - 1].endIndex)]
    let lead = head.count - JinjaText(head).stripped(left: true, right: false).bytes.count
    return [head.dropFirst(lead)] + kept
  }

  /// Lines as Python's `splitlines` cuts them.
  static func lines(_ bytes: [UInt8], keepsEnds: Bool = false) -> [ArraySlice<UInt8>] {
    var lines: [ArraySlice<UInt8>] = []
    var start = 0
    var position = 0
    while position < bytes.count {
      let length = breakLength(bytes, position)
      guard length > 0 else {
        position += 1
        continue
      }
      lines.append(bytes[start..<position + (keepsEnds ? length : 0)])
      position += length
      start = position
    }
    if start < bytes.count { lines.append(bytes[start...]) }
    return lines
  }

  private static func breakLength(_ bytes: [UInt8], _ position: Int) -> Int {
    func byte(_ offset: Int) -> UInt8 {
      position + offset < bytes.count ? bytes[position + offset] : 0
    }
    switch byte(0) {
    case 0x0D: return byte(1) == 0x0A ? 2 : 1
    case 0x0A...0x0C, 0x1C...0x1E: return 1
    case 0xC2: return byte(1) == 0x85 ? 2 : 0
    case 0xE2: return byte(1) == 0x80 && (byte(2) == 0xA8 || byte(2) == 0xA9) ? 3 : 0
    default: return 0
    }
  }
}
