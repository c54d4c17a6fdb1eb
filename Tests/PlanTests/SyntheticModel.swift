import Glibc
import Support

/// A model directory of random bfloat16 weights, written at the speed of the disk.
struct SyntheticModel {
  var isMixture: Bool
  var hidden: Int
  var intermediate: Int
  var layers: Int
  var heads: Int
  var keyValueHeads: Int
  var vocabulary: Int
  var experts = 0

  /// About 140 MB.
  static let dense = SyntheticModel(
    isMixture: false, hidden: 768, intermediate: 2048, layers: 8, heads: 12, keyValueHeads: 4,
    vocabulary: 12_000)
  /// About 230 MB.
  static let mixture = SyntheticModel(
    isMixture: true, hidden: 512, intermediate: 1024, layers: 8, heads: 8, keyValueHeads: 4,
    vocabulary: 8000, experts: 8)

  var settings: JSONObject {
    var json = JSONObject([
      ("architectures", [.string(isMixture ? "MixtralForCausalLM" : "LlamaForCausalLM")]),
      ("vocab_size", .integer(vocabulary)), ("hidden_size", .integer(hidden)),
      ("intermediate_size", .integer(intermediate)), ("num_hidden_layers", .integer(layers)),
      ("num_attention_heads", .integer(heads)), ("num_key_value_heads", .integer(keyValueHeads)),
      ("max_position_embeddings", 4096), ("rms_norm_eps", 1e-5), ("hidden_act", "silu"),
      ("tie_word_embeddings", false), ("eos_token_id", 2), ("torch_dtype", "bfloat16"),
    ])
    if isMixture {
      json["num_local_experts"] = .integer(experts)
      json["num_experts_per_tok"] = 2
    }
    return json
  }

  var tensors: [(name: String, shape: [Int])] {
    let (C, F) = (hidden, intermediate)
    let G = hidden / heads * keyValueHeads
    var list: [(String, [Int])] = [
      ("model.embed_tokens.weight", [vocabulary, C]), ("model.norm.weight", [C]),
      ("lm_head.weight", [vocabulary, C]),
    ]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)."
      list += [
        (prefix + "input_layernorm.weight", [C]), (prefix + "post_attention_layernorm.weight", [C]),
        (prefix + "self_attn.q_proj.weight", [C, C]), (prefix + "self_attn.k_proj.weight", [G, C]),
        (prefix + "self_attn.v_proj.weight", [G, C]), (prefix + "self_attn.o_proj.weight", [C, C]),
      ]
      if isMixture { list.append((prefix + "block_sparse_moe.gate.weight", [experts, C])) }
      let blocks =
        isMixture
        ? (0..<experts).map { prefix + "block_sparse_moe.experts.\($0)." } : [prefix + "mlp."]
      for block in blocks {
        let names = isMixture ? ["w1", "w3", "w2"] : ["gate_proj", "up_proj", "down_proj"]
        for (name, shape) in zip(names, [[F, C], [F, C], [C, F]]) {
          list.append((block + name + ".weight", shape))
        }
      }
    }
    return list
  }

  /// Writes `config.json`, `model.safetensors` and `data.jsonl` of rows with so many tokens.
  func write(_ directory: String, rows: Int, rowLength: Int) throws {
    try FileSystem.makeDirectories(directory)
    try FileSystem.write(
      Array(JSONValue.object(settings).prettyText.utf8), to: "\(directory)/config.json")
    var header = JSONObject()
    var offset = 0
    for (name, shape) in tensors {
      let count = 2 * shape.reduce(1, *)
      header[name] = [
        "dtype": "BF16", "shape": .array(shape.map { .integer($0) }),
        "data_offsets": [.integer(offset), .integer(offset + count)],
      ]
      offset += count
    }
    var text = Array(JSONValue.object(header).compactText.utf8)
    while text.count % 8 != 0 { text.append(UInt8(ascii: " ")) }
    var bytes = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
    // Random fractions of numbers between 2^-6 and 2^-5, of either sign.
    var state: UInt64 = 1
    let noise = (0..<1 << 20).flatMap { _ -> [UInt8] in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return [UInt8(state >> 40 & 0x7F), UInt8(state >> 56 & 0x80) | 0x3C]
    }
    bytes.reserveCapacity(bytes.count + offset)
    for (_, shape) in tensors {
      var count = 2 * shape.reduce(1, *)
      while count > 0 {
        bytes += noise.prefix(count)
        count -= min(count, noise.count)
      }
    }
    try FileSystem.write(bytes, to: "\(directory)/model.safetensors")
    let data = (0..<rows).map { row in
      let ids = (1..<rowLength).map { "\(3 + (row * 7919 + $0 * 104_729) % (vocabulary - 3))" }
      return "{\"input_ids\": [\(ids.joined(separator: ", ")), 2]}\n"
    }
    try FileSystem.write(Array(data.joined().utf8), to: "\(directory)/data.jsonl")
  }
}

/// A temporary directory, removed with all that is in it.
final class Folder: Sendable {
  let path: String

  init() throws {
    path = "/tmp/accelerate-swift-plan-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.makeDirectories(path)
  }

  deinit { try? FileSystem.remove(path) }
}
