import Data
import Support

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
