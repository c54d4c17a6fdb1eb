import Model
import Support
import TestSupport

/// A tiny model and what transformers and peft compute with it: a folder of Tests/Fixtures/models.
struct Fixture {
  let name: String
  /// `[T, V]`.
  let logits: [Float]
  /// One for each target.
  let losses: [Float]
  let loss: Double
  let routerLoss: Double
  let routerCoefficient: Double
  /// All samples as one pack.
  let pack: PackInput
  /// Each sample as a pack of its own.
  let packsOfOne: [PackInput]
  private let expected: SafetensorsFile

  static let folder = FileSystem.parent(of: FileSystem.parent(of: #filePath)) + "/Fixtures/models"

  static let names = [
    "llama-bf16-weights", "llama-biases", "llama-f16", "llama-rope-linear", "llama-rope-scaled",
    "llama-rope-yarn", "llama-tied-head",
    "llama-wide-heads-rslora", "mistral-window", "mixtral-experts", "mixtral-router-head",
    "qwen2-tied", "qwen2-window", "qwen3-experts", "qwen3-experts-plain", "qwen3-tied",
    "qwen3-window",
  ]

  var directory: String { "\(Self.folder)/\(name)" }

  init(_ name: String) throws {
    self.name = name
    let folder = "\(Self.folder)/\(name)"
    expected = try SafetensorsFile(path: "\(folder)/expected.safetensors")
    logits = try expected.floats(named: "logits")
    losses = try expected.floats(named: "losses")
    let json = try FileSystem.readJSON("\(folder)/case.json")
    func number(_ key: String) throws -> Double {
      guard let value = json[key]?.doubleValue else {
        throw UserError(.badInput, at: "\(folder)/case.json", "no number \(key)")
      }
      return value
    }
    loss = try number("loss")
    routerLoss = try number("router_loss")
    routerCoefficient = try number("router_coefficient")
    let samples = Self.samples(json)
    pack = PackInput(samples)
    packsOfOne = samples.enumerated().map { PackInput([$1], firstIndex: $0) }
  }

  private static func samples(_ json: JSONValue) -> [TokenSample] {
    (json["samples"]?.arrayValue ?? []).map { sample in
      TokenSample(
        tokens: (sample["tokens"]?.arrayValue ?? []).compactMap { $0.intValue.map { Int32($0) } },
        firstTarget: sample["first_target"]?.intValue ?? 1)
    }
  }

  /// The samples of a folder that has no adapter.
  static func pack(_ name: String) throws -> PackInput {
    PackInput(samples(try FileSystem.readJSON("\(folder)/\(name)/case.json")))
  }

  /// Gradients in the order of a layout's flat vector.
  func gradients(_ layout: AdapterLayout) throws -> [Float] {
    var values = [Float](repeating: .nan, count: layout.elementCount)
    for entry in layout.entries {
      let prefix = "base_model.model.\(entry.module)"
      values.replaceSubrange(
        entry.rangeA, with: try expected.floats(named: "\(prefix).lora_A.weight"))
      values.replaceSubrange(
        entry.rangeB, with: try expected.floats(named: "\(prefix).lora_B.weight"))
    }
    return values
  }
}

/// Tokens of a sample, and the first of them that is a target.
struct TokenSample {
  var tokens: [Int32]
  var firstTarget = 1

  static func random(_ lengths: [Int], below bound: Int, _ random: inout Random) -> [TokenSample] {
    lengths.map { TokenSample(tokens: random.integers($0, below: bound)) }
  }
}

extension PackInput {
  /// Samples laid end to end, numbered from `firstIndex`.
  init(_ samples: [TokenSample], firstIndex: Int = 0) {
    self.init(
      tokens: [], positions: [], sampleIndices: [], boundaries: [0], targetRows: [], targets: [])
    for (index, sample) in samples.enumerated() {
      for position in sample.firstTarget..<max(sample.firstTarget, sample.tokens.count) {
        targetRows.append(Int32(tokens.count + position - 1))
        targets.append(sample.tokens[position])
      }
      tokens += sample.tokens
      positions += 0..<Int32(sample.tokens.count)
      sampleIndices += [Int32](repeating: Int32(firstIndex + index), count: sample.tokens.count)
      boundaries.append(tokens.count)
    }
  }
}
