package import Support

/// The shape of a model, from the `config.json` of a Hugging Face directory.
package struct ModelConfiguration: Sendable, Equatable {
  /// The families of decoders that are implemented. They share one computation; the fields below
  /// say where they differ.
  package enum Architecture: String, Sendable, CaseIterable {
    case llama = "LlamaForCausalLM"
    case mistral = "MistralForCausalLM"
    case mixtral = "MixtralForCausalLM"
    case qwen2 = "Qwen2ForCausalLM"
  }

  /// Llama 3.1's stretching of the low rotary frequencies.
  package struct RotaryScaling: Sendable, Equatable {
    package var factor: Double
    package var lowFrequencyFactor: Double
    package var highFrequencyFactor: Double
    package var originalPositionCount: Double
  }

  package var architecture: Architecture
  /// C: width of the residual stream.
  package var hiddenSize: Int
  /// L: decoder layers.
  package var layerCount: Int
  /// H: query heads.
  package var headCount: Int
  /// G: key/value heads.
  package var keyValueHeadCount: Int
  /// D: width of a head.
  package var headWidth: Int
  /// F: width of the feed-forward block, or of one expert.
  package var intermediateSize: Int
  /// V: tokens.
  package var vocabularySize: Int
  package var normEpsilon: Float
  package var ropeTheta: Double
  package var ropeScaling: RotaryScaling?
  package var slidingWindow: Int?
  package var positionCount: Int
  package var tiesEmbeddings: Bool
  /// Whether q, k and v have a bias, as in Qwen2.
  package var hasAttentionBias: Bool
  /// E: experts of a layer; 0 for a dense model.
  package var expertCount: Int
  /// K: experts a token is sent to.
  package var expertsPerToken: Int
  /// Factor of the router loss; 0 for a dense model.
  package var routerLossCoefficient: Double
  package var bosID: Int?
  /// Ids that end a text.
  package var eosIDs: [Int]

  package var isMixture: Bool { expertCount > 0 }
  package var queryWidth: Int { headCount * headWidth }
  package var keyValueWidth: Int { keyValueHeadCount * headWidth }
}

extension ModelConfiguration {
  /// Reads `config.json` of a model directory.
  ///
  /// - Parameter directory: the model directory.
  /// - Throws: ``UserError`` for an unknown architecture, a missing or impossible number, or a
  ///   setting that would change the arithmetic in a way that is not implemented.
  package init(directory: String) throws(UserError) {
    let path = "\(directory)/config.json"
    guard FileSystem.isDirectory(directory) else {
      throw UserError(
        .badInput, at: directory, "not a directory; a model is a directory in Hugging Face layout",
        fix: "give the directory that holds config.json and the safetensors files")
    }
    guard FileSystem.exists(path) else {
      throw UserError(
        .badInput, at: directory, "no config.json in it",
        fix: "give the directory that holds config.json and the safetensors files")
    }
    try self.init(json: FileSystem.readJSON(path, limit: 1 << 22), path: path)
  }

  /// Reads a parsed `config.json`; `path` is for messages.
  package init(json: JSONValue, path: String) throws(UserError) {
    let reader = ConfigurationReader(json: json, path: path)
    let names = json["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
    guard let architecture = names.lazy.compactMap(Architecture.init(rawValue:)).first else {
      let found = names.isEmpty ? "no architecture is named" : names.joined(separator: ", ")
      throw UserError(
        .badInput, at: path, "architectures: \(found), which is not implemented",
        fix: "use a model of "
          + Architecture.allCases.map(\.rawValue).joined(separator: ", "))
    }
    self.architecture = architecture
    try reader.refuseUnknownArithmetic()

    let hidden = try reader.count("hidden_size")
    let heads = try reader.count("num_attention_heads")
    hiddenSize = hidden
    layerCount = try reader.count("num_hidden_layers")
    headCount = heads
    let defaults = Defaults(architecture)
    keyValueHeadCount = try reader.count(
      "num_key_value_heads", default: defaults.keyValueHeadCount ?? heads)
    if reader.json["head_dim"]?.isNull ?? true {
      guard hidden % heads == 0 else {
        throw reader.error("hidden_size \(hidden) is no multiple of num_attention_heads \(heads)")
      }
      headWidth = hidden / heads
    } else {
      headWidth = try reader.count("head_dim")
    }
    guard headCount % keyValueHeadCount == 0, headWidth % 2 == 0 else {
      throw reader.error(
        "\(headCount) query heads of width \(headWidth) over \(keyValueHeadCount) key/value heads; "
          + "heads must divide, and the width be even")
    }
    intermediateSize = try reader.count("intermediate_size")
    vocabularySize = try reader.count("vocab_size")
    positionCount = try reader.count("max_position_embeddings", default: 2048)
    normEpsilon = Float(try reader.number("rms_norm_eps", default: defaults.normEpsilon))
    let rope = try reader.rotary(defaultTheta: defaults.ropeTheta)
    ropeTheta = rope.theta
    ropeScaling = rope.scaling
    tiesEmbeddings = try reader.flag("tie_word_embeddings", default: false)
    hasAttentionBias = architecture == .qwen2
    let windowIsUsed =
      architecture == .qwen2 ? try reader.flag("use_sliding_window", default: false) : true
    let window: Int? =
      switch reader.json["sliding_window"] {
      case nil: defaults.slidingWindow
      case .null?: nil
      default: try reader.count("sliding_window")
      }
    slidingWindow = windowIsUsed && architecture != .llama ? window : nil
    if architecture == .qwen2, slidingWindow != nil {
      throw reader.error("use_sliding_window: true is not implemented for Qwen2")
    }
    try reader.refuseMixedLayers(hasWindow: slidingWindow != nil)
    if architecture == .mixtral {
      let experts = try reader.count("num_local_experts", default: 8)
      let chosen = try reader.count("num_experts_per_tok", default: 2)
      guard chosen <= experts, experts <= 1024 else {
        throw reader.error("num_experts_per_tok \(chosen) of num_local_experts \(experts)")
      }
      expertCount = experts
      expertsPerToken = chosen
      routerLossCoefficient = try reader.number("router_aux_loss_coef", default: 0.001)
    } else {
      expertCount = 0
      expertsPerToken = 0
      routerLossCoefficient = 0
    }
    bosID = reader.json["bos_token_id"]?.intValue
    switch reader.json["eos_token_id"] {
    case .array(let ids)?: eosIDs = ids.compactMap(\.intValue)
    case let value?: eosIDs = value.intValue.map { [$0] } ?? []
    case nil: eosIDs = []
    }
  }
}

/// What transformers takes for members that a `config.json` does not have.
private struct Defaults {
  var keyValueHeadCount: Int?
  var normEpsilon = 1e-6
  var ropeTheta = 10000.0
  var slidingWindow: Int?

  init(_ architecture: ModelConfiguration.Architecture) {
    switch architecture {
    case .llama: break
    case .mistral:
      keyValueHeadCount = 8
      slidingWindow = 4096
    case .mixtral:
      keyValueHeadCount = 8
      normEpsilon = 1e-5
      ropeTheta = 1e6
    case .qwen2: keyValueHeadCount = 32
    }
  }
}

/// Typed access to the members of a `config.json`.
private struct ConfigurationReader {
  let json: JSONValue
  let path: String

  func error(_ message: String) -> UserError { UserError(.badInput, at: path, message) }

  /// A positive integer of at most 2^31.
  func count(_ name: String, default fallback: Int? = nil) throws(UserError) -> Int {
    guard let value = json[name], !value.isNull else {
      if let fallback { return fallback }
      throw error("\(name) is missing")
    }
    guard let number = value.intValue, number > 0, number <= 1 << 31 else {
      throw error("\(name): \(value.compactText) is no positive integer")
    }
    return number
  }

  func number(_ name: String, default fallback: Double) throws(UserError) -> Double {
    guard let value = json[name], !value.isNull else { return fallback }
    guard let number = value.doubleValue, number >= 0 else {
      throw error("\(name): \(value.compactText) is no number of zero or more")
    }
    return number
  }

  func flag(_ name: String, default fallback: Bool) throws(UserError) -> Bool {
    guard let value = json[name], !value.isNull else { return fallback }
    guard let flag = value.boolValue else { throw error("\(name) is neither true nor false") }
    return flag
  }

  /// Settings that would change the arithmetic must have the value that is implemented.
  func refuseUnknownArithmetic() throws(UserError) {
    let activation = json["hidden_act"]?.stringValue ?? "silu"
    guard activation == "silu" else {
      throw error("hidden_act: \(activation) is not implemented, only silu")
    }
    for name in ["attention_bias", "mlp_bias"] where try flag(name, default: false) {
      throw error("\(name): true is not implemented")
    }
    for name in ["quantization_config"] where !(json[name]?.isNull ?? true) {
      throw UserError(
        .badInput, at: path, "\(name): reading an already quantized checkpoint is not implemented",
        fix: "give the bf16, f16 or f32 checkpoint; --quant nf4 quantizes it while loading")
    }
    for name in [
      "attention_multiplier", "residual_multiplier", "embedding_multiplier",
      "logits_scaling", "final_logit_softcapping", "attn_logit_softcapping",
      "partial_rotary_factor",
    ]
    where !(json[name]?.isNull ?? true) && json[name]?.doubleValue != 1 {
      throw error("\(name) is not implemented")
    }
  }

  /// All layers have the window, or none.
  func refuseMixedLayers(hasWindow: Bool) throws(UserError) {
    let expected = hasWindow ? "sliding_attention" : "full_attention"
    for type in json["layer_types"]?.arrayValue ?? [] where type.stringValue != expected {
      throw error("layer_types: \(type.compactText) where all layers have \(expected)")
    }
  }

  /// Base and scaling of the rotary embedding, in the Hub's form (`rope_theta`, `rope_scaling`)
  /// or that of transformers 5 (`rope_parameters`).
  func rotary(defaultTheta: Double) throws(UserError) -> (
    theta: Double, scaling: ModelConfiguration.RotaryScaling?
  ) {
    let parameters = json["rope_parameters"].flatMap { $0.isNull ? nil : $0 }
    let scaling = json["rope_scaling"].flatMap { $0.isNull ? nil : $0 } ?? parameters
    let nested = parameters.map { ConfigurationReader(json: $0, path: path) }
    let outer = try number("rope_theta", default: defaultTheta)
    let theta = try nested?.number("rope_theta", default: outer) ?? outer
    guard theta > 0 else { throw error("rope_theta: \(theta) must be above zero") }
    if let part = parameters?["partial_rotary_factor"]?.doubleValue, part != 1 {
      throw error("rope_parameters.partial_rotary_factor: \(part) is not implemented")
    }
    guard let scaling else { return (theta, nil) }
    let kind = scaling["rope_type"]?.stringValue ?? scaling["type"]?.stringValue ?? "default"
    switch kind {
    case "default": return (theta, nil)
    case "llama3":
      let reader = ConfigurationReader(json: scaling, path: path)
      let result = ModelConfiguration.RotaryScaling(
        factor: try reader.number("factor", default: 0),
        lowFrequencyFactor: try reader.number("low_freq_factor", default: 0),
        highFrequencyFactor: try reader.number("high_freq_factor", default: 0),
        originalPositionCount: try reader.number("original_max_position_embeddings", default: 0))
      guard result.factor >= 1, result.lowFrequencyFactor > 0,
        result.highFrequencyFactor > result.lowFrequencyFactor, result.originalPositionCount > 0
      else {
        throw error(
          "rope_scaling: factor, low_freq_factor, high_freq_factor and "
            + "original_max_position_embeddings are needed")
      }
      return (theta, result)
    default: throw error("rope_scaling: type \(kind) is not implemented, only default and llama3")
    }
  }
}
