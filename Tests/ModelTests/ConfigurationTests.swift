import Model
import Support
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
    let scaling = try #require(expected.ropeScaling)
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
    #expect(try read(outer).ropeScaling == scaling)
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
    #expect(llama.keyValueHeadCount == 32 && llama.slidingWindow == nil)
    #expect(llama.normEpsilon == 1e-6 && llama.ropeTheta == 10000 && llama.headWidth == 8)
    let mistral = try minimal("MistralForCausalLM")
    #expect(mistral.keyValueHeadCount == 8 && mistral.slidingWindow == 4096)
    #expect(mistral.normEpsilon == 1e-6 && mistral.ropeTheta == 10000)
    let mixtral = try minimal("MixtralForCausalLM")
    #expect(mixtral.keyValueHeadCount == 8 && mixtral.slidingWindow == nil)
    #expect(mixtral.normEpsilon == 1e-5 && mixtral.ropeTheta == 1_000_000)
    #expect(mixtral.expertCount == 8 && mixtral.expertsPerToken == 2)
    #expect(mixtral.routerLossCoefficient == 0.001)
    let qwen = try minimal("Qwen2ForCausalLM")
    #expect(qwen.keyValueHeadCount == 32 && qwen.slidingWindow == nil && qwen.hasAttentionBias)
  }

  @Test func slidingWindows() throws {
    let text = try fixture("mistral-window")
    #expect(try read(text).slidingWindow == 5)
    #expect(
      try read(text.replacing("\"sliding_window\": 5", with: "\"sliding_window\": null"))
        .slidingWindow == nil)
    func withLayers(_ types: String) -> String {
      text.replacing("\"sliding_window\": 5", with: "\"sliding_window\": 5, \(types)")
    }
    let same = #""layer_types": ["sliding_attention", "sliding_attention"]"#
    #expect(try read(withLayers(same)).slidingWindow == 5)
    let mixed = #""layer_types": ["sliding_attention", "full_attention"]"#
    #expect(throws: UserError.self) { try read(withLayers(mixed)) }
  }

  @Test(arguments: [
    ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "hidden_act"),
    ("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"),
    ("\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias"),
    ("\"LlamaForCausalLM\"", "\"GemmaForCausalLM\"", "GemmaForCausalLM"),
    ("\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"", "yarn"),
    ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "heads"),
    ("\"vocab_size\": 48", "\"vocab_size\": -1", "vocab_size"),
    ("\"hidden_size\": 32", "\"hidden_sizes\": 32", "hidden_size"),
    ("\"mlp_bias\": false", "\"quantization_config\": {}", "quantization_config"),
  ])
  func whatIsNotImplementedIsRefused(_ from: String, to: String, word: String) throws {
    let text = try fixture("llama-rope-scaled")
    let changed = text.replacing(from, with: to)
    #expect(changed != text)
    let error = #expect(throws: UserError.self) { try read(changed) }
    #expect(error?.message.contains(word) == true, "\(error?.message ?? "")")
  }
}
