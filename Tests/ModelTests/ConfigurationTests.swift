import Model
import Support
import TestSupport
import Testing

/// `config.json` as transformers 4 and 5 write it.
@Suite struct ConfigurationTests {
  private func fixture(_ name: String) throws -> String {
    try FileSystem.readText("\(Fixture.folder)/\(name)/config.json")
  }

  private func read(_ text: String) throws -> ModelConfiguration {
    try ModelConfiguration(json: JSONParser.parse(text), path: "config.json")
  }

  @Test func rotaryParametersOfTransformers5() throws {
    let text = try fixture("llama-rope-scaled")
    let expected = try read(text)
    guard case .llama3(let scaling)? = expected.ropeScaling else {
      Issue.record("\(String(describing: expected.ropeScaling))")
      return
    }
    #expect(scaling.factor == 8 && scaling.originalPositionCount == 32)
    #expect(scaling.lowFrequencyFactor == 1 && scaling.highFrequencyFactor == 4)
    let nested = text.replacing("\"rope_theta\": 10000.0,\n", with: "")
      .replacing("\"rope_scaling\": {", with: "\"rope_parameters\": {\"rope_theta\": 10000.0,")
    #expect(nested != text)
    #expect(try read(nested) == expected)
    // The base beside the parameters counts where they have none.
    let outer = text.replacing("rope_scaling", with: "rope_parameters")
      .replacing("\"rope_theta\": 10000.0", with: "\"rope_theta\": 500000.0")
    #expect(try read(outer).ropeTheta == 500000)
    #expect(try read(outer).ropeScaling == expected.ropeScaling)
  }

  @Test func membersThatAreMissingHaveTheDefaultsOfTransformers() throws {
    func minimal(_ architecture: String) throws -> ModelConfiguration {
      try read(
        """
        {"architectures": ["\(architecture)"], "hidden_size": 256, "num_attention_heads": 32,
         "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 100}
        """)
    }
    let llama = try minimal("LlamaForCausalLM")
    #expect(llama.keyValueHeadCount == 32 && llama.layers.map(\.slidingWindow) == [nil])
    #expect(llama.layers.map(\.isMixture) == [false])
    #expect(llama.normEpsilon == 1e-6 && llama.ropeTheta == 10000 && llama.headWidth == 8)
    let mistral = try minimal("MistralForCausalLM")
    #expect(mistral.keyValueHeadCount == 8 && mistral.layers.map(\.slidingWindow) == [4096])
    #expect(mistral.normEpsilon == 1e-6 && mistral.ropeTheta == 10000)
    let mixtral = try minimal("MixtralForCausalLM")
    #expect(mixtral.keyValueHeadCount == 8 && mixtral.layers.map(\.slidingWindow) == [nil])
    #expect(mixtral.layers.map(\.isMixture) == [true])
    #expect(mixtral.normEpsilon == 1e-5 && mixtral.ropeTheta == 1_000_000)
    #expect(mixtral.expertCount == 8 && mixtral.expertsPerToken == 2)
    #expect(mixtral.routerLossCoefficient == 0.001)
    let qwen = try minimal("Qwen2ForCausalLM")
    #expect(qwen.keyValueHeadCount == 32 && qwen.hasAttentionBias && !qwen.hasOutputBias)
    #expect(qwen.layers == llama.layers && !qwen.hasHeadNorms)
    let qwen3 = try minimal("Qwen3ForCausalLM")
    #expect(qwen3.headWidth == 128 && qwen3.keyValueHeadCount == 32 && qwen3.hasHeadNorms)
    #expect(qwen3.layers == llama.layers && !qwen3.hasAttentionBias)
    let mixture = try minimal("Qwen3MoeForCausalLM")
    #expect(mixture.headWidth == 8 && mixture.keyValueHeadCount == 4 && mixture.hasHeadNorms)
    #expect(mixture.expertCount == 128 && mixture.expertsPerToken == 8)
    #expect(mixture.expertIntermediateSize == 768 && mixture.intermediateSize == 64)
    #expect(!mixture.normalizesExpertWeights && mixture.routerLossCoefficient == 0.001)
  }

  @Test func slidingWindows() throws {
    let text = try fixture("mistral-window")
    func windows(_ text: String) throws -> [Int?] { try read(text).layers.map(\.slidingWindow) }
    #expect(try windows(text) == [5, 5])
    #expect(
      try windows(text.replacing("\"sliding_window\": 5", with: "\"sliding_window\": null"))
        == [nil, nil])
    func withLayers(_ types: String) -> String {
      text.replacing("\"sliding_window\": 5", with: "\"sliding_window\": 5, \(types)")
    }
    let same = #""layer_types": ["sliding_attention", "sliding_attention"]"#
    #expect(try windows(withLayers(same)) == [5, 5])
    let mixed = #""layer_types": ["sliding_attention", "full_attention"]"#
    #expect(throws: UserError.self) { try read(withLayers(mixed)) }
  }

  /// Qwen's three settings, as transformers takes them together.
  @Test(arguments: [
    (#""use_sliding_window": false, "sliding_window": 6"#, [nil, nil, nil]),
    (#""use_sliding_window": true, "max_window_layers": 1"#, [nil, 4096, 4096]),
    (#""use_sliding_window": true, "sliding_window": 6, "max_window_layers": 0"#, [6, 6, 6]),
    (#""use_sliding_window": true, "sliding_window": null"#, [nil, nil, nil]),
    (#""use_sliding_window": true, "sliding_window": 6"#, [nil, nil, nil]),
    (
      #""use_sliding_window": true, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]"#,
      [6, nil, 6]
    ),
  ])
  func slidingWindowsOfQwen(_ members: String, _ expected: [Int?]) throws {
    for architecture in ["Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
      let configuration = try read(
        """
        {"architectures": ["\(architecture)"], "hidden_size": 256, "num_attention_heads": 32,
         "num_hidden_layers": 3, "intermediate_size": 64, "vocab_size": 100, \(members)}
        """)
      #expect(configuration.layers.map(\.slidingWindow) == expected)
    }
  }

  @Test(arguments: [
    (#""mlp_only_layers": [0, 3]"#, [false, true, true, false]),
    (#""decoder_sparse_step": 2"#, [false, true, false, true]),
    (#""decoder_sparse_step": 2, "mlp_only_layers": [1]"#, [false, false, false, true]),
    (#""decoder_sparse_step": 5"#, [false, false, false, false]),
  ])
  func layersWithExperts(_ members: String, _ expected: [Bool]) throws {
    let configuration = try read(
      """
      {"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 256, "num_attention_heads": 32,
       "num_hidden_layers": 4, "intermediate_size": 64, "vocab_size": 100, \(members)}
      """)
    #expect(configuration.layers.map(\.isMixture) == expected)
    #expect(configuration.isMixture == expected.contains(true))
    #expect(configuration.mixtureLayerCount == expected.count { $0 })
  }

  @Test(arguments: [
    ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "hidden_act"),
    ("\"mlp_bias\": false", "\"partial_rotary_factor\": 0.5", "partial_rotary_factor"),
    ("\"mlp_bias\": false", "\"attention_dropout\": 0.1", "attention_dropout: 0.1"),
    ("\"mlp_bias\": false", "\"sliding_window\": 4", "sliding_window: 4 is not known"),
    ("\"mlp_bias\": false", "\"query_scale\": 2", "query_scale: 2 is not known"),
    ("\"mlp_bias\": false", "\"logits_scaling\": 8", "logits_scaling"),
    ("\"mlp_bias\": false", "\"layer_types\": [\"full_attention\"]", "layer_types"),
    ("\"rope_type\": \"llama3\"", "\"rope_type\": \"dynamic\"", "type dynamic"),
    ("\"rope_type\": \"llama3\"", "\"rope_type\": \"longrope\"", "type longrope"),
    ("\"low_freq_factor\"", "\"short_factor\"", "low_freq_factor is missing"),
    ("\"rope_type\": \"llama3\"", "\"rope_type\": \"linear\"", "rope_scaling.high_freq_factor"),
    ("\"factor\": 8.0", "\"factor\": 0.5", "factor"),
    ("\"LlamaForCausalLM\"", "\"GemmaForCausalLM\"", "GemmaForCausalLM"),
    ("\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"", "rope_scaling.high_freq_factor"),
    ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "heads"),
    ("\"vocab_size\": 48", "\"vocab_size\": -1", "vocab_size"),
    ("\"hidden_size\": 32", "\"hidden_sizes\": 32", "hidden_size"),
    ("\"mlp_bias\": false", "\"quantization_config\": {}", "quantization_config"),
    (
      "\"mlp_bias\": false", "\"quantization_config\": {\"quant_method\": \"gptq\"}",
      "quant_method gptq"
    ),
    (
      "\"mlp_bias\": false",
      "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true}",
      "load_in_8bit"
    ),
    (
      "\"mlp_bias\": false",
      "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}",
      "bnb_4bit_quant_type fp4"
    ),
  ])
  func whatIsNotImplementedIsRefused(_ from: String, to: String, word: String) throws {
    let text = try fixture("llama-rope-scaled")
    let changed = text.replacing(from, with: to)
    #expect(changed != text)
    let error = #expect(throws: UserError.self) { try read(changed) }
    #expect(error?.message.contains(word) == true, "\(error?.message ?? "")")
  }

  /// What transformers of several years wrote beside the numbers that matter.
  @Test func membersWithoutEffectAreRead() throws {
    let text = try fixture("llama-f16")
    let expected = try read(text)
    let more = text.replacing(
      "{\n  \"architectures\"",
      with: #"""
        {"_name_or_path": "some/where", "torch_dtype": "float16", "transformers_version": "4.31",
         "use_cache": true, "auto_map": {"AutoModel": "x.Y"},
         "attention_dropout": 0.0, "max_length": 4096, "temperature": 0.9, "top_p": 0.6,
         "do_sample": true, "id2label": {"0": "LABEL_0"}, "tie_encoder_decoder": false,
         "pruned_heads": {}, "use_mrope": false, "sliding_window": null, "unsloth_version": "2024",
         "a_member_of_tomorrow": null, "rope_interleaved": false, "partial_rotary_factor": 1.0,
         "architectures"
        """#)
    #expect(more != text)
    #expect(try read(more) == expected)
  }

  /// Every published configuration of these families is read.
  @Test(
    .enabled(
      if: FileSystem.exists("\(SharedReference.folder)/data/configs"),
      "no published configurations in \(SharedReference.folder); set ACCELERATE_SHARED"))
  func publishedConfigurations() throws {
    let folder = "\(SharedReference.folder)/data/configs"
    var count = 0
    for group in try FileSystem.list(folder) {
      for file in (try? FileSystem.list("\(folder)/\(group)")) ?? []
      where file.hasSuffix(".json") {
        let json = try FileSystem.readJSON("\(folder)/\(group)/\(file)")
        guard json["architectures"] != nil else { continue }
        let configuration = try ModelConfiguration(json: json, path: file)
        #expect(configuration.layerCount == json["num_hidden_layers"]?.intValue)
        #expect(configuration.isMixture == (json["num_experts_per_tok"] != nil))
        count += 1
      }
    }
    #expect(count >= 20)
  }
}
