import Data
import Support

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

/// Writes small `tokenizer.json` files in the manner of Llama.
struct TokenizerJSONFixture {
  var vocabulary = [
    "<unk>", "<s>", "</s>", "\u{2581}", "a", "b", "c", "\u{2581}a", "ab", "bc", "\u{2581}ab",
  ]
  var merges: [JSONValue] = [
    "b c", "\u{2581} a", "a b", ["\u{2581}a", "b"],
  ]
  var model: [String: JSONValue] = [
    "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
  ]
  var addedTokens: [JSONValue] = [
    ["id": 0, "content": "<unk>", "special": true, "normalized": false],
    ["id": 1, "content": "<s>", "special": true, "normalized": false],
    ["id": 2, "content": "</s>", "special": true, "normalized": false],
  ]
  var document: [String: JSONValue] = [
    "normalizer": [
      "type": "Sequence",
      "normalizers": [
        ["type": "Prepend", "prepend": "\u{2581}"],
        ["type": "Replace", "pattern": ["String": " "], "content": "\u{2581}"],
      ],
    ],
    "pre_tokenizer": .null,
    "post_processor": [
      "type": "TemplateProcessing",
      "single": [
        ["SpecialToken": ["id": "<s>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]],
      ],
    ],
    "decoder": [
      "type": "Sequence",
      "decoders": [
        ["type": "Replace", "pattern": ["String": "\u{2581}"], "content": " "],
        ["type": "ByteFallback"], ["type": "Fuse"],
        ["type": "Strip", "content": " ", "start": 1, "stop": 0],
      ],
    ],
  ]

  /// Uses a Metaspace pre-tokenizer in place of the normalizer.
  mutating func useMetaspace(_ settings: [String: JSONValue]) {
    document["normalizer"] = .null
    var members: [String: JSONValue] = ["type": "Metaspace", "replacement": "\u{2581}"]
    members.merge(settings) { $1 }
    document["pre_tokenizer"] = Self.object(members)
  }

  mutating func addBytes() {
    for byte in UInt8.min...UInt8.max {
      let digits = String(byte, radix: 16, uppercase: true)
      vocabulary.append("<0x\(byte < 16 ? "0" : "")\(digits)>")
    }
  }

  static func object(_ members: [String: JSONValue]) -> JSONValue {
    .object(JSONObject(members.map { ($0.key, $0.value) }))
  }

  var text: String {
    var model = model
    var ids = JSONObject()
    for (id, token) in vocabulary.enumerated() { ids[token] = .integer(id) }
    model["vocab"] = .object(ids)
    model["merges"] = .array(merges)
    var document = document
    document["model"] = Self.object(model)
    document["added_tokens"] = .array(addedTokens)
    return Self.object(document).compactText
  }

  func loaded(config: String? = nil) throws -> LoadedTokenizer {
    let directory = try TemporaryDirectory()
    try directory.write("tokenizer.json", text)
    if let config { try directory.write("tokenizer_config.json", config) }
    return try TokenizerFactory.load(directory: directory.path)
  }

  func tokenizer() throws -> any Tokenizer { try loaded().tokenizer }
}
