/// Where each LoRA matrix lies in the flat float32 vector of all adapter weights.
///
/// Matrices are ordered by layer, so that a layer's gradients are one contiguous range; the head's
/// come last. A is `[loraRank, in]`, B `[out, loraRank]`; B follows A.
package struct AdapterLayout: Sendable {
  /// One adapted matrix.
  package struct Entry: Sendable, Equatable {
    /// The module's name in the model's files, for example `model.layers.0.self_attn.q_proj`.
    package var module: String
    package var inputs: Int
    package var outputs: Int
    /// Elements of A and of B in the flat vector.
    package var rangeA: Range<Int>
    package var rangeB: Range<Int>
  }

  /// The adapted matrices of one decoder layer.
  package struct Layer: Sendable {
    package var query: Entry?
    package var key: Entry?
    package var value: Entry?
    package var output: Entry?
    package var router: Entry?
    /// One element for a dense layer, E for a mixture.
    package var experts: [(w1: Entry?, w3: Entry?, w2: Entry?)] = []
    /// All of the layer's elements in the flat vector.
    package var range: Range<Int> = 0..<0
  }

  package private(set) var settings: LoRASettings
  package private(set) var layers: [Layer] = []
  package private(set) var head: Entry?
  /// All matrices in the order of the flat vector.
  package private(set) var entries: [Entry] = []
  /// Elements of the flat vector.
  package private(set) var elementCount = 0

  package init(_ configuration: ModelConfiguration, _ settings: LoRASettings) {
    self.settings = settings
    let C = configuration.hiddenSize
    for index in 0..<configuration.layerCount {
      let names = LayerNames(configuration, layer: index)
      var layer = Layer()
      let start = elementCount
      layer.query = add(.query, names.query, C, configuration.queryWidth)
      layer.key = add(.key, names.key, C, configuration.keyValueWidth)
      layer.value = add(.value, names.value, C, configuration.keyValueWidth)
      layer.output = add(.output, names.output, configuration.queryWidth, C)
      if configuration.layers[index].isMixture {
        layer.router = add(.router, names.router, C, configuration.expertCount)
      }
      let F = configuration.innerWidth(layer: index)
      for expert in names.experts {
        layer.experts.append(
          (
            w1: add(.w1, expert.w1, C, F), w3: add(.w3, expert.w3, C, F),
            w2: add(.w2, expert.w2, F, C)
          ))
      }
      layer.range = start..<elementCount
      layers.append(layer)
    }
    head = add(.head, "lm_head", C, configuration.vocabularySize)
  }

  private mutating func add(_ target: LoRATarget, _ module: String, _ inputs: Int, _ outputs: Int)
    -> Entry?
  {
    guard settings.targets.contains(target) else { return nil }
    let R = settings.loraRank
    let entry = Entry(
      module: module, inputs: inputs, outputs: outputs,
      rangeA: elementCount..<elementCount + R * inputs,
      rangeB: elementCount + R * inputs..<elementCount + R * (inputs + outputs))
    elementCount = entry.rangeB.upperBound
    entries.append(entry)
    return entry
  }

  /// Neighbouring ranges that cover the flat vector: one for each layer, then the head's, maybe
  /// empty. A backward pass ends with the gradients of part `n` when it has left layer `n`.
  package var parts: [Range<Int>] { layers.map(\.range) + [headRange] }

  /// The elements of the head's matrices.
  package var headRange: Range<Int> {
    (layers.last?.range.upperBound ?? 0)..<elementCount
  }
}

/// The names of a decoder layer's modules in the files of a model.
package struct LayerNames: Sendable {
  package let query: String
  package let key: String
  package let value: String
  package let output: String
  /// Of every head's queries and keys, in models that have them.
  package let queryNorm: String
  package let keyNorm: String
  package let inputNorm: String
  package let postAttentionNorm: String
  package let router: String
  /// One element for a dense layer, E for a mixture.
  package let experts: [(w1: String, w3: String, w2: String)]

  package init(_ configuration: ModelConfiguration, layer: Int) {
    let prefix = "model.layers.\(layer)."
    query = prefix + "self_attn.q_proj"
    key = prefix + "self_attn.k_proj"
    value = prefix + "self_attn.v_proj"
    output = prefix + "self_attn.o_proj"
    queryNorm = prefix + "self_attn.q_norm"
    keyNorm = prefix + "self_attn.k_norm"
    inputNorm = prefix + "input_layernorm"
    postAttentionNorm = prefix + "post_attention_layernorm"
    let family = configuration.architecture
    let block = prefix + (family == .mixtral ? "block_sparse_moe." : "mlp.")
    router = block + LoRATarget.router.moduleName(family)
    let blocks =
      configuration.layers[layer].isMixture
      ? (0..<configuration.expertCount).map { block + "experts.\($0)." } : [block]
    experts = blocks.map {
      (
        $0 + LoRATarget.w1.moduleName(family), $0 + LoRATarget.w3.moduleName(family),
        $0 + LoRATarget.w2.moduleName(family)
      )
    }
  }
}
