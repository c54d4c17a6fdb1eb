import Support
import TestSupport
import Testing

/// Data larger than the memory that a process may have.
@Suite(.timeLimit(.minutes(5))) struct StreamingTests {
  private let place: Workplace

  init() throws { place = try Workplace() }

  /// A model whose tokens are letters, and rows of so many of these.
  private func writeModel() throws {
    let model = TinyModel()
    try model.write(place("model"))
    var settings = model.settings
    settings["max_position_embeddings"] = 2048
    try place.write("model/config.json", JSONValue.object(settings).compactText)
    var vocabulary = JSONObject([("<unk>", 0), ("<s>", 1), ("</s>", 2)])
    for (index, letter) in "abcdefghijklmnopqrstuvwxyz".enumerated() {
      vocabulary[String(letter)] = .integer(3 + index)
    }
    let tokenizer: JSONValue = [
      "added_tokens": [["id": 2, "content": "</s>", "special": true]],
      "pre_tokenizer": ["type": "WhitespaceSplit"],
      "model": [
        "type": "BPE", "unk_token": "<unk>", "vocab": .object(vocabulary), "merges": [],
      ],
    ]
    try place.write("model/tokenizer.json", tokenizer.compactText)
  }

  private func writeRows(_ rowCount: Int, letters: Int) throws {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(rowCount * (letters + 16))
    var state: UInt64 = 5
    for _ in 0..<rowCount {
      bytes += Array(#"{"text": ""#.utf8)
      for _ in 0..<letters {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes.append(UInt8(ascii: "a") + UInt8((state >> 33) % 26))
      }
      bytes += Array("\"}\n".utf8)
    }
    try FileSystem.write(bytes, to: place("rows.jsonl"))
  }

  @Test func tokensLargerThanMemoryAreTrained() throws {
    try writeModel()
    try writeRows(34_000, letters: 1000)
    let arguments = [
      "train", "--model", place("model"), "--data", place("rows.jsonl"), "--cache", place("cache"),
      "--max-length", "1024", "--pack-tokens", "2048", "--packs-per-step", "1", "--max-steps", "3",
    ]
    let limit = 64 << 10
    let run = try place.run(arguments + ["--output", place("run")], dataLimit: limit)
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(try RunResult(place("run")).steps == [1, 2, 3])
    let files = try FileSystem.list(place("cache/tokens"))
    try #require(files.count == 1, "\(files)")
    let size = try MappedFile(path: place("cache/tokens/\(files[0])")).byteCount
    #expect(size > 4 * limit << 10)
    // In memory they do not fit: the limit is one.
    let whole = try place.run(
      arguments + ["--no-cache", "--output", place("whole")], dataLimit: limit)
    #expect(whole.exitCode != 0)
  }
}
