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

  /// The base matrices of a decoder layer.
  struct BaseLayer {
    let slab: Tensor
    let inputNorm: Tensor
    let query: BaseMatrix
    let key: BaseMatrix
    let value: BaseMatrix
    let biases: (query: Tensor, key: Tensor, value: Tensor)?
    let output: BaseMatrix
    let postAttentionNorm: Tensor
    let router: BaseMatrix?
    let experts: [(w1: BaseMatrix, w3: BaseMatrix, w2: BaseMatrix)]
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

  func baseLayer(_ index: Int, _ slab: Tensor) -> BaseLayer {
    let names = names[index]
    let layout = layouts[index + 1]
    func matrix(_ module: String) -> BaseMatrix { layout.matrix(module, in: slab) }
    func bias(_ module: String) -> Tensor { layout.vector(module + ".bias", in: slab) }
    return BaseLayer(
      slab: slab,
      inputNorm: layout.vector(names.inputNorm + ".weight", in: slab),
      query: matrix(names.query), key: matrix(names.key), value: matrix(names.value),
      biases: configuration.hasAttentionBias
        ? (bias(names.query), bias(names.key), bias(names.value)) : nil,
      output: matrix(names.output),
      postAttentionNorm: layout.vector(names.postAttentionNorm + ".weight", in: slab),
      router: configuration.isMixture ? matrix(names.router) : nil,
      experts: names.experts.map { (matrix($0.w1), matrix($0.w3), matrix($0.w2)) })
  }

  func block(_ index: Int, _ base: BaseLayer, _ adapters: AdapterWeights?, gradients: Tensor?)
    -> DecoderBlock
  {
    let layer = adapters?.layout.layers[index]
    func linear(_ matrix: BaseMatrix, _ entry: AdapterLayout.Entry?, bias: Tensor? = nil)
      -> LoRALinear
    {
      LoRALinear(
        base: matrix, bias: bias,
        adapter: entry.flatMap { adapters?.adapter($0, gradients: gradients) })
    }
    return DecoderBlock(
      index: index,
      inputNorm: base.inputNorm,
      query: linear(base.query, layer?.query, bias: base.biases?.query),
      key: linear(base.key, layer?.key, bias: base.biases?.key),
      value: linear(base.value, layer?.value, bias: base.biases?.value),
      output: linear(base.output, layer?.output),
      postAttentionNorm: base.postAttentionNorm,
      feedForward: FeedForward(
        layer: index,
        router: base.router.map { linear($0, layer?.router) },
        experts: base.experts.enumerated().map { number, expert in
          Expert(
            w1: linear(expert.w1, layer?.experts[number].w1),
            w3: linear(expert.w3, layer?.experts[number].w3),
            w2: linear(expert.w2, layer?.experts[number].w2))
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

  func adapter(_ entry: AdapterLayout.Entry, gradients: Tensor?) -> Adapter {
    let R = layout.settings.loraRank
    func matrices(_ flat: Tensor) -> (a: Tensor, b: Tensor) {
      (
        flat.elements(entry.rangeA).reshaped(rows: R, columns: entry.inputs),
        flat.elements(entry.rangeB).reshaped(rows: entry.outputs, columns: R)
      )
    }
    let weights = matrices(values)
    let gradients = gradients.map(matrices)
    return Adapter(
      loraA: weights.a, loraB: weights.b, scaling: layout.settings.scaling,
      gradientA: gradients?.a, gradientB: gradients?.b)
  }
}
