import Support
import TestSupport

/// A model directory of seeded values, small enough to train in a blink.
struct TinyModel {
  var isMixture = false
  var hidden = 32
  var intermediate = 48
  var layers = 2
  var heads = 4
  var keyValueHeads = 2
  var vocabulary = 64
  var experts = 4
  var seed: UInt64 = 1
  /// Width of an expert or feed-forward block times `layers` tells bases of other sizes.
  var settings: JSONObject {
    var json = JSONObject([
      ("architectures", [.string(isMixture ? "MixtralForCausalLM" : "LlamaForCausalLM")]),
      ("vocab_size", .integer(vocabulary)), ("hidden_size", .integer(hidden)),
      ("intermediate_size", .integer(intermediate)), ("num_hidden_layers", .integer(layers)),
      ("num_attention_heads", .integer(heads)), ("num_key_value_heads", .integer(keyValueHeads)),
      ("max_position_embeddings", 128), ("rope_theta", 10000.0), ("rms_norm_eps", 1e-5),
      ("hidden_act", "silu"), ("tie_word_embeddings", false), ("eos_token_id", 2),
    ])
    if isMixture {
      json["num_local_experts"] = .integer(experts)
      json["num_experts_per_tok"] = 2
      json["router_aux_loss_coef"] = 0.02
    }
    return json
  }

  /// The tensors of the base with their shapes.
  var tensors: [(name: String, shape: [Int])] {
    let (C, F) = (hidden, intermediate)
    let (Q, G) = (hidden, hidden / heads * keyValueHeads)
    var list: [(String, [Int])] = [
      ("model.embed_tokens.weight", [vocabulary, C]), ("model.norm.weight", [C]),
      ("lm_head.weight", [vocabulary, C]),
    ]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)."
      list += [
        (prefix + "input_layernorm.weight", [C]), (prefix + "post_attention_layernorm.weight", [C]),
        (prefix + "self_attn.q_proj.weight", [Q, C]), (prefix + "self_attn.k_proj.weight", [G, C]),
        (prefix + "self_attn.v_proj.weight", [G, C]), (prefix + "self_attn.o_proj.weight", [C, Q]),
      ]
      guard isMixture else {
        list += [
          (prefix + "mlp.gate_proj.weight", [F, C]), (prefix + "mlp.up_proj.weight", [F, C]),
          (prefix + "mlp.down_proj.weight", [C, F]),
        ]
        continue
      }
      list.append((prefix + "block_sparse_moe.gate.weight", [experts, C]))
      for expert in 0..<experts {
        let name = prefix + "block_sparse_moe.experts.\(expert)."
        list += [
          (name + "w1.weight", [F, C]), (name + "w2.weight", [C, F]), (name + "w3.weight", [F, C]),
        ]
      }
    }
    return list
  }

  /// The values of a tensor: uniform with a spread that keeps activations near one.
  func values(_ name: String, _ shape: [Int]) -> [Float] {
    let count = shape.reduce(1, *)
    if shape.count == 1 { return [Float](repeating: 1, count: count) }
    var state = name.utf8.reduce(seed &* 0x9E37_79B9_7F4A_7C15) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01B3
    }
    let size = name.hasPrefix("model.embed") ? 1 : 1.7 / Float(shape[1]).squareRoot()
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (Float(state >> 40) / 0x1p23 - 1) * size
    }
  }

  /// Writes `config.json` and the weights.
  ///
  /// - Parameters:
  ///   - directory: made where it is missing.
  ///   - shards: over how many files, with an index when more than one.
  ///   - change: alters the values of a tensor before they are written.
  /// - Returns: the directory.
  @discardableResult func write(
    _ directory: String, shards: Int = 1,
    change: (_ name: String, _ values: inout [Float]) -> Void = { _, _ in }
  ) throws -> String {
    try FileSystem.makeDirectories(directory)
    try FileSystem.write(
      Array(JSONValue.object(settings).prettyText.utf8), to: "\(directory)/config.json")
    var writers = [SafetensorsWriter](repeating: SafetensorsWriter(), count: shards)
    var map = JSONObject()
    for (position, tensor) in tensors.enumerated() {
      var values = values(tensor.name, tensor.shape)
      change(tensor.name, &values)
      writers[position % shards].add(tensor.name, shape: tensor.shape, floats: values)
      map[tensor.name] = .string("model-\(position % shards).safetensors")
    }
    guard shards > 1 else {
      try FileSystem.write(writers[0].bytes(), to: "\(directory)/model.safetensors")
      return directory
    }
    for (number, writer) in writers.enumerated() {
      try FileSystem.write(writer.bytes(), to: "\(directory)/model-\(number).safetensors")
    }
    let index: JSONValue = ["weight_map": .object(map)]
    try FileSystem.write(
      Array(index.compactText.utf8), to: "\(directory)/model.safetensors.index.json")
    return directory
  }

  /// Rows of `input_ids` of unequal lengths.
  func rows(_ count: Int, seed: UInt64 = 7) -> String {
    var state = seed
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    return (0..<count).map { _ in
      let ids = (0..<4 + next(20)).map { _ in "\(3 + next(vocabulary - 3))" }
      return "{\"input_ids\": [\(ids.joined(separator: ", ")), 2]}\n"
    }.joined()
  }
}
