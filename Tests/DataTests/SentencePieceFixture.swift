import Data

/// Writes small sentencepiece models.
struct SentencePieceFixture {
  var pieces: [(text: String, score: Float, kind: UInt64)] = [
    ("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3),
  ]
  var modelType: UInt64 = 2
  var hasByteFallback = false
  /// Field numbers and values of the normalizer; 3 dummy prefix, 4 extra spaces, 5 escape.
  var normalizer: [(UInt64, UInt64)] = [(4, 0)]
  var charsMap: [UInt8] = []
  var denormalizer: [UInt8] = []

  mutating func add(_ texts: String..., score: Float = -1, kind: UInt64 = 1) {
    for text in texts { pieces.append((text, score, kind)) }
  }

  mutating func addBytes() {
    hasByteFallback = true
    for byte in UInt8.min...UInt8.max {
      let digits = String(byte, radix: 16, uppercase: true)
      pieces.append(("<0x\(byte < 16 ? "0" : "")\(digits)>", 0, 6))
    }
  }

  var bytes: [UInt8] {
    var model: [UInt8] = []
    for piece in pieces {
      var inner = Self.field(1, Array(piece.text.utf8)) + [2 << 3 | 5]
      for shift in stride(from: UInt32(0), to: 32, by: 8) {
        inner.append(UInt8(truncatingIfNeeded: piece.score.bitPattern >> shift))
      }
      model += Self.field(1, inner + Self.field(3, piece.kind))
    }
    let trainer = Self.field(3, modelType) + Self.field(35, hasByteFallback ? 1 : 0)
    model += Self.field(2, trainer)
    var rules = charsMap.isEmpty ? [] : Self.field(2, charsMap)
    for (number, value) in normalizer { rules += Self.field(number, value) }
    model += Self.field(3, rules)
    if !denormalizer.isEmpty { model += Self.field(5, Self.field(2, denormalizer)) }
    return model
  }

  func tokenizer() throws -> SentencePieceTokenizer {
    let model = try SentencePieceModel(bytes, path: "m")
    return try SentencePieceTokenizer(model, path: "m")
  }

  static func varint(_ value: UInt64) -> [UInt8] {
    var (value, result) = (value, [UInt8]())
    while value >= 0x80 {
      result.append(UInt8(value & 0x7F) | 0x80)
      value >>= 7
    }
    return result + [UInt8(value)]
  }

  static func field(_ number: UInt64, _ value: UInt64) -> [UInt8] {
    varint(number << 3) + varint(value)
  }

  static func field(_ number: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    varint(number << 3 | 2) + varint(UInt64(bytes.count)) + bytes
  }

  /// A character map with one block of 256 trie units for each node.
  static func charsMap(_ rules: [(key: String, text: String)]) -> [UInt8] {
    var texts: [UInt8] = []
    var units = [UInt32](repeating: 0xFF, count: 256)
    func insert(_ node: Int, _ rules: [(key: ArraySlice<UInt8>, value: UInt32)], _ label: UInt8) {
      let base = units.count
      units += [UInt32](repeating: 0xFF, count: 256)
      let leaf = rules.first { $0.key.isEmpty }
      units[node] = UInt32(node ^ base) << 10 | (leaf == nil ? 0 : 1 << 8) | UInt32(label)
      if let leaf { units[base] = 1 << 31 | leaf.value }
      for byte in Set(rules.compactMap(\.key.first)) {
        let children = rules.filter { $0.key.first == byte }.map { ($0.key.dropFirst(), $0.value) }
        insert(base ^ Int(byte), children, byte)
      }
    }
    var list: [(key: ArraySlice<UInt8>, value: UInt32)] = []
    for rule in rules {
      list.append((Array(rule.key.utf8)[...], UInt32(texts.count)))
      texts += Array(rule.text.utf8) + [0]
    }
    insert(0, list, 0)
    let words = [UInt32(4 * units.count)] + units
    return words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
      + texts
  }
}
