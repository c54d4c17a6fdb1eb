internal import Compute
internal import Data
internal import Support

/// A small dense model of seeded values with grouped queries and a sliding window, and rows of
/// tokens for it.
struct DenseModel {
  let seed: UInt64

  private static let (hidden, intermediate, layers, heads, keyValueHeads) = (64, 112, 2, 4, 2)
  private static let vocabulary = 320

  /// Writes `config.json` and the weights.
  func write(_ directory: String) throws(UserError) {
    try FileSystem.makeDirectories(directory)
    let settings: JSONValue = [
      "architectures": ["MistralForCausalLM"], "model_type": "mistral",
      "vocab_size": .integer(Self.vocabulary), "hidden_size": .integer(Self.hidden),
      "intermediate_size": .integer(Self.intermediate),
      "num_hidden_layers": .integer(Self.layers), "num_attention_heads": .integer(Self.heads),
      "num_key_value_heads": .integer(Self.keyValueHeads), "max_position_embeddings": 128,
      "sliding_window": 12, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    ]
    var weights = SafetensorsWriter()
    for (number, tensor) in Self.tensors.enumerated() {
      weights.add(tensor.name, shape: tensor.shape, floats: values(number, tensor.shape))
    }
    try FileSystem.write(weights.bytes(), to: "\(directory)/model.safetensors")
    try FileSystem.write(Array(settings.prettyText.utf8), to: "\(directory)/config.json")
  }

  private static var tensors: [(name: String, shape: [Int])] {
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
        (prefix + "mlp.gate_proj.weight", [F, C]), (prefix + "mlp.up_proj.weight", [F, C]),
        (prefix + "mlp.down_proj.weight", [C, F]),
      ]
    }
    return list
  }

  /// Uniform, with a spread that keeps activations near one; norms are one.
  private func values(_ number: Int, _ shape: [Int]) -> [Float] {
    let count = shape.reduce(1, *)
    guard shape.count > 1 else { return [Float](repeating: 1, count: count) }
    let bound = number == 0 ? 1 : 1.7 / Float(shape[1]).squareRoot()
    return (0..<count).map { (2 * CounterGenerator.unit(word(number, $0)) - 1) * bound }
  }

  private func word(_ stream: Int, _ index: Int) -> UInt32 {
    CounterGenerator.words(
      counter: SIMD4(
        UInt32(truncatingIfNeeded: stream), UInt32(truncatingIfNeeded: index >> 2), 0, 0),
      key: SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32)))[
        index & 3]
  }

  /// Samples of 6 to 40 tokens, of which the first third is a prompt.
  func samples(_ count: Int) -> [Sample] {
    (0..<count).map { row in
      let stream = 1000 + row
      let length = 6 + Int(word(stream, 0) % 35)
      let tokens = (1...length).map {
        Int32(3 + word(stream, $0) % UInt32(Self.vocabulary - 3))
      }
      let labels = tokens.enumerated().map {
        $0.offset < length / 3 ? Sample.ignoredLabel : $0.element
      }
      return Sample(tokens: tokens, labels: labels)
    }
  }
}
