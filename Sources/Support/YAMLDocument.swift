/// One YAML document (JSON is YAML too) with the lines its settings stand on.
///
/// Accepted are mappings with text keys, sequences and scalars of the YAML 1.2 core schema. Anchors,
/// aliases (small files that expand without bound), tags, duplicate keys and several documents in
/// one file are errors that name file and line.
package struct YAMLDocument: Sendable {
  package let path: String
  /// The document; an empty file is `.null`.
  package let root: JSONValue
  /// Of each key of the outermost mapping, the 1-based line.
  package let lines: [String: Int]

  /// The largest file that is read, in bytes: configurations are small.
  package static let byteLimit = 1 << 20
  /// How deep mappings and sequences may nest.
  package static let depthLimit = 32

  /// Reads and parses a file.
  package static func read(_ path: String) throws(UserError) -> YAMLDocument {
    try parse(try FileSystem.readBytes(path, limit: byteLimit), path: path)
  }

  /// Parses `bytes`.
  ///
  /// - Parameters:
  ///   - bytes: UTF-8 text.
  ///   - path: where it came from, for messages.
  /// - Returns: the document.
  /// - Throws: ``UserError`` naming `path` and, where there is one, the line.
  package static func parse(_ bytes: [UInt8], path: String) throws(UserError) -> YAMLDocument {
    guard bytes.count <= byteLimit else {
      throw UserError(
        .badInput, at: path, "\(bytes.count) bytes, but at most \(byteLimit) are accepted here")
    }
    guard String(validating: bytes, as: UTF8.self) != nil else {
      throw UserError(.badInput, at: path, "not UTF-8 text")
    }
    var builder = YAMLBuilder(
      reader: try YAMLEventReader(bytes, path: path), path: path)
    return try builder.document()
  }
}

/// Turns events into a tree.
private struct YAMLBuilder: ~Copyable {
  var reader: YAMLEventReader
  let path: String
  private var depth = 0
  private var lines: [String: Int] = [:]

  init(reader: consuming YAMLEventReader, path: String) {
    self.reader = reader
    self.path = path
  }

  private func error(_ line: Int, _ message: String, fix: String = "") -> UserError {
    UserError(.badInput, at: "\(path):\(line)", message, fix: fix)
  }

  /// The next event, less those that no accepted document has.
  private mutating func next() throws(UserError) -> YAMLEvent {
    let event = try reader.next()
    if case .alias = event.kind {
      throw error(event.line, "an alias (*name) is not accepted", fix: "write the value out")
    }
    if event.hasAnchor {
      throw error(event.line, "an anchor (&name) is not accepted", fix: "write the value out")
    }
    if event.hasTag {
      throw error(
        event.line, "a tag (!name) is not accepted", fix: "quote the value to make it text")
    }
    return event
  }

  mutating func document() throws(UserError) -> YAMLDocument {
    var root: JSONValue?
    while true {
      let event = try next()
      switch event.kind {
      case .streamEnd: return YAMLDocument(path: path, root: root ?? .null, lines: lines)
      case .documentStart:
        guard root == nil else {
          throw error(event.line, "a second document; a file holds one", fix: "delete the '---'")
        }
        root = try value(try next())
      default: break
      }
    }
  }

  private mutating func value(_ event: YAMLEvent) throws(UserError) -> JSONValue {
    switch event.kind {
    case .scalar(let text, let isPlain):
      guard isPlain else { return .string(text) }
      guard let value = JSONValue(yamlPlain: text) else {
        throw error(event.line, "the number \(text.prefix(40)) is out of range")
      }
      return value
    case .sequenceStart:
      try enter(event)
      defer { depth -= 1 }
      var elements: [JSONValue] = []
      while true {
        let element = try next()
        if case .sequenceEnd = element.kind { return .array(elements) }
        elements.append(try value(element))
      }
    case .mappingStart:
      try enter(event)
      defer { depth -= 1 }
      return .object(try mapping())
    default:
      preconditionFailure("libyaml gives a value here or an error")
    }
  }

  private mutating func mapping() throws(UserError) -> JSONObject {
    var object = JSONObject()
    var keyLines: [String: Int] = [:]
    while true {
      let key = try next()
      if case .mappingEnd = key.kind { break }
      guard case .scalar(let name, _) = key.kind, !name.isEmpty else {
        throw error(key.line, "a key must be one word or a text in quotes")
      }
      if let first = keyLines[name] {
        throw error(
          key.line, "the key \"\(name.prefix(80))\" appears twice, first on line \(first)",
          fix: "delete one of the two lines")
      }
      keyLines[name] = key.line
      object[name] = try value(try next())
    }
    if depth == 1 { lines = keyLines }
    return object
  }

  private mutating func enter(_ event: YAMLEvent) throws(UserError) {
    depth += 1
    guard depth <= YAMLDocument.depthLimit else {
      throw error(event.line, "nested deeper than \(YAMLDocument.depthLimit) levels")
    }
  }
}

extension JSONValue {
  /// What a scalar without quotes means in YAML 1.2's core schema; nil for a number out of range.
  ///
  /// `yes`, `no`, `on` and `off` are text there, and so is `1_000`.
  package init?(yamlPlain text: String) {
    switch text {
    case "", "~", "null", "Null", "NULL": self = .null
    case "true", "True", "TRUE": self = .bool(true)
    case "false", "False", "FALSE": self = .bool(false)
    case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": self = .double(.infinity)
    case "-.inf", "-.Inf", "-.INF": self = .double(-.infinity)
    case ".nan", ".NaN", ".NAN": self = .double(.nan)
    default:
      if text.hasPrefix("0x"), let number = UInt(text.dropFirst(2), radix: 16) {
        guard let integer = Int(exactly: number) else { return nil }
        self = .integer(integer)
      } else if text.hasPrefix("0o"), let number = UInt(text.dropFirst(2), radix: 8) {
        guard let integer = Int(exactly: number) else { return nil }
        self = .integer(integer)
      } else if let isInteger = Self.isYAMLInteger(text) {
        if isInteger, let integer = Int(text) {
          self = .integer(integer)
        } else {
          guard let double = Double(text), double.isFinite else { return nil }
          self = .double(double)
        }
      } else {
        self = .string(text)
      }
    }
  }

  /// Whether a decimal number is an integer; nil when `text` is no number.
  private static func isYAMLInteger(_ text: String) -> Bool? {
    var rest = Substring(text)
    func takeDigits() -> Int {
      let digits = rest.prefix { $0 >= "0" && $0 <= "9" }
      rest.removeFirst(digits.count)
      return digits.count
    }
    func take(_ characters: String) -> Bool {
      guard let first = rest.first, characters.contains(first) else { return false }
      rest.removeFirst()
      return true
    }
    _ = take("+-")
    var digitCount = takeDigits()
    if rest.isEmpty && digitCount > 0 { return true }
    if take(".") { digitCount += takeDigits() }
    guard digitCount > 0 else { return nil }
    if take("eE") {
      _ = take("+-")
      guard takeDigits() > 0 else { return nil }
    }
    return rest.isEmpty ? false : nil
  }
}
