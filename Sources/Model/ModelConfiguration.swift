/// The shape of a model, from the `config.json` of a Hugging Face directory.
package struct ModelConfiguration: Sendable, Equatable {
  /// The families of decoders that are implemented. They share one computation; the fields below
  /// say where they differ.
  package enum Architecture: String, Sendable, CaseIterable {
    case llama = "LlamaForCausalLM"
    case mistral = "MistralForCausalLM"
    case mixtral = "MixtralForCausalLM"
    case qwen2 = "Qwen2ForCausalLM"
    case qwen3 = "Qwen3ForCausalLM"
    case qwen3Mixture = "Qwen3MoeForCausalLM"
  }

  /// Where the layers of one model differ.
  package struct Layer: Sendable, Equatable {
    /// A token sees itself and this many minus one before it; nil sees the whole sample.
    package var slidingWindow: Int?
    /// Whether its feed-forward half is a router and experts.
    package var isMixture: Bool
  }

  package var architecture: Architecture
  /// C: width of the residual stream.
  package var hiddenSize: Int
  package var layers: [Layer]
  /// H: query heads.
  package var headCount: Int
  /// G: key/value heads.
  package var keyValueHeadCount: Int
  /// D: width of a head.
  package var headWidth: Int
  /// F: width of the feed-forward block of a layer without experts.
  package var intermediateSize: Int
  /// F: width of one expert.
  package var expertIntermediateSize: Int
  /// V: tokens.
  package var vocabularySize: Int
  package var normEpsilon: Float
  package var ropeTheta: Double
  package var ropeScaling: RotaryScaling?
  package var positionCount: Int
  package var tiesEmbeddings: Bool
  /// Whether q, k and v have a bias, as in Qwen2.
  package var hasAttentionBias: Bool
  /// Whether the output projection of the attention has one.
  package var hasOutputBias: Bool
  /// Whether the projections of the feed-forward block have one.
  package var hasFeedForwardBias: Bool
  /// Whether every head's queries and keys are normalized before they are rotated, as in Qwen3.
  package var hasHeadNorms: Bool
  /// E: experts of a mixture layer; 0 for a dense model.
  package var expertCount: Int
  /// K: experts a token is sent to.
  package var expertsPerToken: Int
  /// Whether the weights of a token's K experts are made to sum to one.
  package var normalizesExpertWeights: Bool
  /// Factor of the router loss; 0 for a dense model.
  package var routerLossCoefficient: Double
  package var bosID: Int?
  /// Ids that end a text.
  package var eosIDs: [Int]
  /// How the linears lie in the files; nil where they are plain numbers.
  package var storedQuantization: StoredQuantization?

  /// L: decoder layers.
  package var layerCount: Int { layers.count }
  package var mixtureLayerCount: Int { layers.count(where: \.isMixture) }
  package var isMixture: Bool { expertCount > 0 }
  package var queryWidth: Int { headCount * headWidth }
  package var keyValueWidth: Int { keyValueHeadCount * headWidth }

  /// F of a layer.
  func innerWidth(layer: Int) -> Int {
    layers[layer].isMixture ? expertIntermediateSize : intermediateSize
  }
}
