import Data
import Support

/// Loads a tokenizer, encodes a text and decodes it again. In a `tokenizer.json` a zero byte ends
/// the file, and the text follows.
func readTokenizer(_ bytes: [UInt8], _ name: String) throws {
  var (file, text) = (bytes[...], ArraySlice<UInt8>?.none)
  if name == "tokenizer.json" {
    (file, text) = halves(bytes)
  } else {
    // A tiktoken file does not say its special tokens itself.
    MemoryFiles.write(
      Array(#"{"added_tokens_decoder":{"300":{"content":"</s>","special":true}}}"#.utf8),
      "tokenizer_config.json")
  }
  MemoryFiles.write(file, name)
  let loaded = try TokenizerFactory.load(directory: MemoryFiles.directory)
  try use(loaded.tokenizer, on: text.map { String(decoding: $0, as: UTF8.self) } ?? usualText)
}

/// `vocab.json`, a zero byte, `merges.txt`.
func readVocabulary(_ bytes: [UInt8]) throws {
  let (file, merges) = halves(bytes)
  let family = bytes.count % 2 == 0 ? "GPT2Tokenizer" : "Qwen2Tokenizer"
  MemoryFiles.write(Array(#"{"tokenizer_class":"\#(family)"}"#.utf8), "tokenizer_config.json")
  MemoryFiles.write(file, "vocab.json")
  MemoryFiles.write(merges ?? [], "merges.txt")
  try use(TokenizerFactory.load(directory: MemoryFiles.directory).tokenizer, on: usualText)
}

/// A regular expression, a zero byte, and the text that it cuts. Matches follow each other and lie
/// between characters.
func readPattern(_ bytes: [UInt8]) throws {
  let (file, rest) = halves(bytes)
  guard let expression = String(validating: file, as: UTF8.self) else { return }
  let text = Array((rest.map { String(decoding: $0, as: UTF8.self) } ?? usualText).utf8)
  let pattern = try Pattern(expression)
  // A part of a text is matched as if there were nothing around it.
  for range in [0..<text.count, min(1, text.count)..<text.count]
  where range.isEmpty || text[range.lowerBound] & 0xC0 != 0x80 {
    var last = range.lowerBound
    try pattern.forEachMatch(in: text, range) { start, end in
      check(
        last <= start && start <= end && end <= range.upperBound
          && [start, end].allSatisfy { $0 == text.count || text[$0] & 0xC0 != 0x80 },
        "a match \(start)..<\(end) after \(last)")
      last = end
    }
  }
}

private func use(_ tokenizer: any Tokenizer, on text: String) throws {
  let ids = try tokenizer.encode(text, isContinuation: false)
  let more = try tokenizer.encode(text, isContinuation: true)
  check(
    (ids + more).allSatisfy { (0..<Int32(tokenizer.vocabularySize)).contains($0) },
    "an id is not below the vocabulary's size")
  check(try ids == tokenizer.encode(text, isContinuation: false), "the ids of a text changed")
  _ = tokenizer.decode(ids)
  _ = tokenizer.decode(ids, keepsSpecialTokens: true)
  _ = tokenizer.decodeContinuation(more)
  // Ids that no text gives.
  _ = tokenizer.decode([-1, 0, 1, 2, 3, Int32.max] + ids.reversed())
}

private let usualText =
  "Ein Text, 텍스트 \u{1F600}\u{200D} \u{301} <s> ab</s>12345 \t\n" + String(repeating: "a", count: 99)

/// A tokenizer of all bytes, with a few merges.
enum ByteLevel {
  private static let file: JSONValue = [
    "added_tokens": [["id": 0, "content": "</s>", "special": true]],
    "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false],
    "decoder": ["type": "ByteLevel"],
    "model": [
      "type": "BPE", "vocab": .object(vocabulary), "merges": ["a a", "aa aa", "\u{120} a"],
    ],
  ]

  /// The characters of the 256 bytes as GPT-2 has them, and what the merges make.
  static let vocabulary: JSONObject = {
    var object = JSONObject()
    object["</s>"] = .integer(0)
    var extra: UInt32 = 256
    for byte in UInt32(0)...255 {
      let isItself = (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174
      guard let scalar = Unicode.Scalar(isItself ? byte : extra) else { continue }
      if !isItself { extra += 1 }
      object[String(scalar)] = .integer(object.count)
    }
    for text in ["aa", "aaaa", "\u{120}a"] { object[text] = .integer(object.count) }
    return object
  }()

  static let loaded: LoadedTokenizer = {
    MemoryFiles.write(Array(file.compactText.utf8), "tokenizer.json")
    MemoryFiles.write(Array(#"{"eos_token":"</s>"}"#.utf8), "tokenizer_config.json")
    do { return try TokenizerFactory.load(directory: MemoryFiles.directory) } catch {
      fatalError("\(error)")
    }
  }()
}
