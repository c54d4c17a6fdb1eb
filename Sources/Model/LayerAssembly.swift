package import Compute

/// Base weights of a slab and adapter weights of the flat vector, put together to a layer.
struct LayerAssembly {
  private let configuration: ModelConfiguration
  private let layouts: [SlabLayout]
  private let names: [LayerNames]

  init(_ configuration: ModelConfiguration, layouts: [SlabLayout]) {
    self.configuration = configuration
    self.layouts = layouts
    names = (0..<configuration.layerCount).map { LayerNames(configuration, layer: $0) }
  }

  func embedding(_ slab: Tensor) -> BaseMatrix {
    layouts[0].matrix("model.embed_tokens", in: slab)
  }

  func finalNorm(_ slab: Tensor) -> Tensor {
    layouts[layouts.count - 1].vector("model.norm.weight", in: slab)
  }

  /// The head's matrix, from its own slab; with tied embeddings use ``embedding(_:)``.
  func head(_ slab: Tensor) -> BaseMatrix {
    layouts[layouts.count - 1].matrix("lm_head", in: slab)
  }

  /// A decoder layer over a slab that holds its base weights.
  func block(_ index: Int, _ slab: Tensor, _ adapters: AdapterWeights?) -> DecoderBlock {
    let names = names[index]
    let layout = layouts[index + 1]
    let layer = adapters?.layout.layers[index]
    func linear(_ module: String, _ entry: AdapterLayout.Entry?, hasBias: Bool = false)
      -> LoRALinear
    {
      LoRALinear(
        base: layout.matrix(module, in: slab),
        bias: hasBias ? layout.vector(module + ".bias", in: slab) : nil,
        adapter: entry.flatMap { adapters?.adapter($0) })
    }
    func norm(_ name: String) -> Tensor? {
      configuration.hasHeadNorms ? layout.vector(name + ".weight", in: slab) : nil
    }
    let hasBias = configuration.hasAttentionBias
    let hasInnerBias = configuration.hasFeedForwardBias
    return DecoderBlock(
      index: index,
      slidingWindow: configuration.layers[index].slidingWindow,
      inputNorm: layout.vector(names.inputNorm + ".weight", in: slab),
      query: linear(names.query, layer?.query, hasBias: hasBias),
      key: linear(names.key, layer?.key, hasBias: hasBias),
      value: linear(names.value, layer?.value, hasBias: hasBias),
      output: linear(names.output, layer?.output, hasBias: configuration.hasOutputBias),
      queryNorm: norm(names.queryNorm), keyNorm: norm(names.keyNorm),
      postAttentionNorm: layout.vector(names.postAttentionNorm + ".weight", in: slab),
      feedForward: FeedForward(
        layer: index,
        router: configuration.layers[index].isMixture
          ? linear(names.router, layer?.router) : nil,
        experts: names.experts.enumerated().map { number, expert in
          Expert(
            w1: linear(expert.w1, layer?.experts[number].w1, hasBias: hasInnerBias),
            w3: linear(expert.w3, layer?.experts[number].w3, hasBias: hasInnerBias),
            w2: linear(expert.w2, layer?.experts[number].w2, hasBias: hasInnerBias))
        }))
  }
}

/// The flat vector of all adapter weights on the device, with its layout.
package struct AdapterWeights: Sendable {
  package let layout: AdapterLayout
  /// `[1, elements]` float32.
  package let values: Tensor

  package init(layout: AdapterLayout, values: Tensor) {
    precondition(values.count == layout.elementCount)
    self.layout = layout
    self.values = values
  }

  func adapter(_ entry: AdapterLayout.Entry) -> Adapter {
    let R = layout.settings.loraRank
    return Adapter(
      loraA: values.elements(entry.rangeA).reshaped(rows: R, columns: entry.inputs),
      loraB: values.elements(entry.rangeB).reshaped(rows: entry.outputs, columns: R),
      scaling: layout.settings.scaling, rangeA: entry.rangeA, rangeB: entry.rangeB)
  }
}
