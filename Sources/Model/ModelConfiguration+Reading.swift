package import Support

extension ModelConfiguration {
  /// Reads `config.json` of a model directory.
  ///
  /// - Parameter directory: the model directory.
  /// - Throws: ``UserError`` for an unknown architecture, a missing or impossible number, a member
  ///   that is not known, or a setting that would change the arithmetic in a way that is not
  ///   implemented.
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
    try reader.checkMembers(architecture)
    storedQuantization = try StoredQuantization(reader)

    let hidden = try reader.count("hidden_size")
    let heads = try reader.count("num_attention_heads")
    let defaults = Defaults(architecture)
    hiddenSize = hidden
    headCount = heads
    keyValueHeadCount = try reader.count(
      "num_key_value_heads", default: defaults.keyValueHeadCount ?? heads)
    if reader.has("head_dim") || defaults.headWidth != nil {
      headWidth = try reader.count("head_dim", default: defaults.headWidth)
    } else {
      guard hidden % heads == 0 else {
        throw reader.error("hidden_size \(hidden) is no multiple of num_attention_heads \(heads)")
      }
      headWidth = hidden / heads
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
    let rope = try reader.rotary(defaultTheta: defaults.ropeTheta, positionCount: positionCount)
    ropeTheta = rope.theta
    ropeScaling = rope.scaling
    tiesEmbeddings = try reader.flag("tie_word_embeddings", default: false)

    let attentionBias = try reader.flag("attention_bias", default: false)
    // Qwen2 has these three always, whatever the flag says, and never one of the output.
    hasAttentionBias = attentionBias || architecture == .qwen2
    hasOutputBias = attentionBias && architecture != .qwen2
    hasFeedForwardBias = try reader.flag("mlp_bias", default: false)
    hasHeadNorms = architecture == .qwen3 || architecture == .qwen3Mixture

    switch architecture {
    case .mixtral:
      expertCount = try reader.count("num_local_experts", default: 8)
      expertsPerToken = try reader.count("num_experts_per_tok", default: 2)
      expertIntermediateSize = intermediateSize
      normalizesExpertWeights = true
    case .qwen3Mixture:
      expertCount = try reader.experts()
      expertsPerToken = try reader.count("num_experts_per_tok", default: 8)
      expertIntermediateSize = try reader.count("moe_intermediate_size", default: 768)
      normalizesExpertWeights = try reader.flag("norm_topk_prob", default: false)
    case .llama, .mistral, .qwen2, .qwen3:
      expertCount = 0
      expertsPerToken = 0
      expertIntermediateSize = intermediateSize
      normalizesExpertWeights = false
    }
    guard expertsPerToken <= expertCount, expertCount <= 1024 else {
      throw reader.error(
        "num_experts_per_tok \(expertsPerToken) of \(expertCount) experts; "
          + "there may be 1024 at most")
    }
    layers = try reader.layers(architecture, defaultWindow: defaults.slidingWindow)
    if !layers.contains(where: \.isMixture) {
      expertCount = 0
      expertsPerToken = 0
    }
    routerLossCoefficient =
      expertCount > 0 ? try reader.number("router_aux_loss_coef", default: 0.001) : 0
    bosID = json["bos_token_id"]?.intValue
    switch json["eos_token_id"] {
    case .array(let ids)?: eosIDs = ids.compactMap(\.intValue)
    case let value?: eosIDs = value.intValue.map { [$0] } ?? []
    case nil: eosIDs = []
    }
  }
}

/// What transformers takes for members that a `config.json` does not have.
private struct Defaults {
  var keyValueHeadCount: Int?
  /// Nil: the hidden size over the heads.
  var headWidth: Int?
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
    case .qwen2:
      keyValueHeadCount = 32
      slidingWindow = 4096
    case .qwen3:
      keyValueHeadCount = 32
      headWidth = 128
      slidingWindow = 4096
    case .qwen3Mixture:
      keyValueHeadCount = 4
      slidingWindow = 4096
    }
  }
}

extension ConfigurationReader {
  /// Qwen3's number of experts; transformers 5 knows it by a second name.
  fileprivate func experts() throws(UserError) -> Int {
    try count(has("num_experts") ? "num_experts" : "num_local_experts", default: 128)
  }

  /// What each layer is.
  fileprivate func layers(
    _ architecture: ModelConfiguration.Architecture, defaultWindow: Int?
  ) throws(UserError) -> [ModelConfiguration.Layer] {
    let layerCount = try count("num_hidden_layers", limit: 1 << 14)
    let windows = try slidingWindows(architecture, layerCount, defaultWindow)
    let isMixture = try mixtureLayers(architecture, layerCount)
    return zip(windows, isMixture).map { .init(slidingWindow: $0, isMixture: $1) }
  }

  private func slidingWindows(
    _ architecture: ModelConfiguration.Architecture, _ layerCount: Int, _ fallback: Int?
  ) throws(UserError) -> [Int?] {
    let isSwitched = [.qwen2, .qwen3, .qwen3Mixture].contains(architecture)
    let isUsed = try isSwitched ? flag("use_sliding_window", default: false) : true
    let window: Int? =
      switch json["sliding_window"] {
      case nil: fallback
      case .null?: nil
      default: try count("sliding_window")
      }
    var windows = [Int?](repeating: isUsed ? window : nil, count: layerCount)
    let mixesLayers = architecture == .qwen2 || architecture == .qwen3
    if mixesLayers, isUsed, window != nil {
      // The first layers see everything.
      let first = try has("max_window_layers") ? natural("max_window_layers") : 28
      for layer in 0..<min(first, layerCount) { windows[layer] = nil }
    }
    guard let types = json["layer_types"], !types.isNull else { return windows }
    guard let types = types.arrayValue, types.count == layerCount else {
      throw error("layer_types has no entry for each of the \(layerCount) layers")
    }
    for (layer, type) in types.enumerated() {
      switch type.stringValue {
      case "full_attention" where mixesLayers: windows[layer] = nil
      case "sliding_attention" where mixesLayers && isUsed && window != nil:
        windows[layer] = window
      case "full_attention" where windows[layer] == nil: break
      case "sliding_attention" where windows[layer] != nil: break
      default:
        throw error(
          "layer_types: layer \(layer) is \(type.compactText), but with the other settings of "
            + "\(architecture.rawValue) it has "
            + (windows[layer] == nil ? "full_attention" : "sliding_attention"))
      }
    }
    return windows
  }

  private func mixtureLayers(
    _ architecture: ModelConfiguration.Architecture, _ layerCount: Int
  ) throws(UserError) -> [Bool] {
    guard architecture == .qwen3Mixture else {
      return [Bool](repeating: architecture == .mixtral, count: layerCount)
    }
    let step = try count("decoder_sparse_step", default: 1)
    var isMixture = (0..<layerCount).map { ($0 + 1) % step == 0 }
    if has("mlp_only_layers") {
      guard let dense = json["mlp_only_layers"]?.arrayValue else {
        throw error("mlp_only_layers is no list of layers")
      }
      for value in dense {
        guard let layer = value.intValue, (0..<layerCount).contains(layer) else {
          throw error("mlp_only_layers: \(value.compactText) is no layer of \(layerCount)")
        }
        isMixture[layer] = false
      }
    }
    return isMixture
  }
}
