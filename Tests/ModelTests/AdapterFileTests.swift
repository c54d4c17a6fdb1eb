import Model
import Support
import TestSupport
import Testing

/// Adapters as PEFT writes them.
@Suite struct AdapterFileTests {
  private let prefix = "base_model.model."

  /// Reads an adapter directory with this configuration and these weights.
  private func read(_ configuration: JSONValue, _ weights: [UInt8], model name: String) throws
    -> AdapterFile
  {
    let folder = "/tmp/accelerate-swift-adapter-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.makeDirectories(folder)
    defer { try? FileSystem.remove(folder) }
    try FileSystem.writeAtomically(
      configuration.prettyText, to: "\(folder)/adapter_config.json")
    try FileSystem.write(weights, to: "\(folder)/adapter_model.safetensors")
    let directory = "\(Fixture.folder)/\(name)"
    return try AdapterFile(
      directory: folder, configuration: ModelConfiguration(directory: directory),
      base: .files(ModelFiles(directory: directory)))
  }

  private func layout(_ name: String, _ settings: LoRASettings) throws -> AdapterLayout {
    AdapterLayout(
      try ModelConfiguration(directory: "\(Fixture.folder)/\(name)"), settings)
  }

  private func values(_ layout: AdapterLayout) -> [Float] {
    var random = Random(8)
    return (0..<layout.elementCount).map { _ in Float(random.normal()) }
  }

  static let written: [(name: String, targets: Set<LoRATarget>)] = [
    ("llama-f16", [.query, .w2]), ("llama-tied-head", [.value, .head]),
    ("mixtral-experts", Set(LoRATarget.allCases)), ("qwen3-tied", [.key, .w1]),
    ("qwen3-experts", Set(LoRATarget.allCases)),
  ]

  @Test(arguments: written)
  func whatIsWrittenIsRead(_ name: String, targets: Set<LoRATarget>) throws {
    let settings = LoRASettings(
      loraRank: 5, alpha: 12.5, dropout: 0.05, isRankStabilized: true, targets: targets)
    let layout = try layout(name, settings)
    let values = values(layout)
    let family = try ModelConfiguration(directory: "\(Fixture.folder)/\(name)").architecture
    let file = try read(
      JSONParser.parse(
        AdapterFile.configuration(settings, family: family, baseModel: "some/base")),
      AdapterFile.weights(layout, values), model: name)
    #expect(file.settings == settings)
    #expect(file.values == values)
    #expect(file.layout.entries == layout.entries)
  }

  /// The matrices in the file say what is adapted, however the configuration words it.
  @Test(arguments: [
    #""all-linear""#, #"".*\\.self_attn\\.(q|v)_proj""#, #"["q_proj", "v_proj"]"#,
    #"["model.layers.0.self_attn.q_proj", "v_proj"]"#, "null",
  ])
  func targetModulesMayBeWordedInAnyWay(_ targets: String) throws {
    let layout = try layout(
      "llama-f16", LoRASettings(loraRank: 2, alpha: 4, targets: [.query, .value]))
    let file = try read(
      JSONParser.parse(
        #"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": \#(targets)}"#),
      AdapterFile.weights(layout, values(layout)), model: "llama-f16")
    #expect(file.settings.targets == [.query, .value])
  }

  @Test(arguments: [
    #""use_dora": true"#, #""peft_type": "LOHA""#, #""bias": "all""#, #""lora_bias": true"#,
    #""use_qalora": true"#, #""use_bdlora": {"nblocks": 2}"#, #""fan_in_fan_out": true"#,
    #""rank_pattern": {"q_proj": 4}"#, #""alpha_pattern": {"q_proj": 4}"#,
    #""modules_to_save": ["lm_head"]"#, #""target_parameters": ["gate_up_proj"]"#,
    #""layers_to_transform": 0"#, #""layers_to_transform": [0]"#,
    #""layer_replication": [[0, 1]]"#, #""trainable_token_indices": {"embed_tokens": [1]}"#,
    #""trainable_token_indices": [1]"#, #""alora_invocation_tokens": [1, 2]"#,
    #""arrow_config": {"top_k": 2}"#, #""init_lora_weights": "pissa""#,
    #""init_lora_weights": "pissa_niter_4""#, #""init_lora_weights": "olora""#,
    #""init_lora_weights": "loftq""#, #""r": 0"#, #""lora_alpha": 0"#,
  ])
  func featuresThatChangeTheNumbersAreRefused(_ member: String) throws {
    let layout = try layout(
      "llama-f16", LoRASettings(loraRank: 2, alpha: 4, targets: [.query]))
    let weights = AdapterFile.weights(layout, values(layout))
    let plain = #""peft_type": "LORA", "bias": "none", "r": 2, "lora_alpha": 4"#
    let name = String(member.dropFirst().prefix { $0 != "\"" })
    // The last of equal members would be refused as a duplicate.
    let others = plain.split(separator: ", ").filter { !$0.hasPrefix("\"\(name)\"") }
    let error = #expect(throws: UserError.self) {
      _ = try read(
        JSONParser.parse("{" + (others + [Substring(member)]).joined(separator: ", ") + "}"),
        weights, model: "llama-f16")
    }
    #expect(error?.message.hasPrefix(name) == true, "\(error?.message ?? "")")
  }

  @Test func switchedOffFeaturesAreRead() throws {
    let layout = try layout(
      "llama-f16", LoRASettings(loraRank: 2, alpha: 4, targets: [.query]))
    let values = values(layout)
    let file = try read(
      JSONParser.parse(
        #"""
        {"r": 2, "lora_alpha": 4, "use_dora": false, "use_bdlora": null, "rank_pattern": {},
         "modules_to_save": [], "init_lora_weights": "gaussian", "loftq_config": {},
         "layers_to_transform": null, "eva_config": null, "a_member_of_tomorrow": false}
        """#), AdapterFile.weights(layout, values), model: "llama-f16")
    #expect(file.values == values)
  }

  /// PEFT saves frozen matrices beside the adapter; they must be the base's.
  @Test(arguments: ["lm_head.base_layer.weight", "lm_head.weight", "model.embed_tokens.weight"])
  func copiesOfTheBase(_ tensor: String) throws {
    let name = "llama-tied-head"
    let base = try ModelFiles(directory: "\(Fixture.folder)/\(name)")
    let shape = try ModelConfiguration(directory: "\(Fixture.folder)/\(name)")
    let settings = LoRASettings(loraRank: 2, alpha: 4, targets: [.query])
    let layout = AdapterLayout(shape, settings)
    let configuration = try JSONParser.parse(
      AdapterFile.configuration(settings, family: .llama, baseModel: ""))
    _ = try base.entry(
      "model.embed_tokens.weight", shape: [shape.vocabularySize, shape.hiddenSize])
    let original = try base.floats("model.embed_tokens.weight")

    func read(copy: [Float], shape: [Int], isBFloat16: Bool) throws {
      var writer = SafetensorsWriter()
      let values = values(layout)
      for entry in layout.entries {
        let module = prefix + entry.module
        writer.add(
          module + ".lora_A.weight", shape: [2, entry.inputs], floats: Array(values[entry.rangeA]))
        writer.add(
          module + ".lora_B.weight", shape: [entry.outputs, 2], floats: Array(values[entry.rangeB]))
      }
      if isBFloat16 {
        let bytes = copy.flatMap {
          let bits = roundedToBFloat16($0).bitPattern >> 16
          return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
        }
        writer.add(prefix + tensor, type: .bfloat16, shape: shape, bytes: bytes)
      } else {
        writer.add(prefix + tensor, shape: shape, floats: copy)
      }
      _ = try self.read(configuration, writer.bytes(), model: name)
    }

    let matrix = [shape.vocabularySize, shape.hiddenSize]
    try read(copy: original, shape: matrix, isBFloat16: false)
    try read(copy: original, shape: matrix, isBFloat16: true)
    var changed = original
    changed[changed.count - 1] *= 1.02
    for isBFloat16 in [false, true] {
      let error = #expect(throws: UserError.self) {
        try read(copy: changed, shape: matrix, isBFloat16: isBFloat16)
      }
      #expect(error?.message.contains("differs from the base's") == true)
    }
    #expect(throws: UserError.self) {
      try read(
        copy: Array(original.dropLast(shape.hiddenSize)),
        shape: [shape.vocabularySize - 1, shape.hiddenSize], isBFloat16: false)
    }
  }

  @Test func wrongTensorsAreNamed() throws {
    let settings = LoRASettings(loraRank: 2, alpha: 4, targets: [.query, .w2])
    let configuration = try JSONParser.parse(
      AdapterFile.configuration(settings, family: .llama, baseModel: ""))
    // Of a mixture, of a dense model of other widths, and nothing at all.
    let mixture = try layout("mixtral-experts", settings)
    let wide = try layout("llama-wide-heads-rslora", settings)
    for (weights, words) in [
      (AdapterFile.weights(mixture, values(mixture)), "belongs to no matrix of this model"),
      (AdapterFile.weights(wide, values(wide)), "has shape"),
      (SafetensorsWriter().bytes(), "no adapter weights in it"),
    ] {
      let error = #expect(throws: UserError.self) {
        _ = try read(configuration, weights, model: "llama-f16")
      }
      #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }
    var notFinite = values(try layout("llama-f16", settings))
    notFinite[11] = .infinity
    let weights = AdapterFile.weights(try layout("llama-f16", settings), notFinite)
    let error = #expect(throws: UserError.self) {
      _ = try read(configuration, weights, model: "llama-f16")
    }
    #expect(error?.kind == .notFinite)
  }

  /// Published adapters' configurations, over weights of the shapes of a tiny model.
  @Test(
    .enabled(
      if: FileSystem.exists("\(SharedReference.folder)/data/configs/peft-adapters"),
      "no adapter configurations in \(SharedReference.folder); set ACCELERATE_SHARED"))
  func publishedConfigurations() throws {
    let folder = "\(SharedReference.folder)/data/configs/peft-adapters"
    var count = 0
    for file in try FileSystem.list(folder) where file.hasSuffix(".adapter_config.json") {
      let json = try FileSystem.readJSON("\(folder)/\(file)")
      let loraRank = try #require(json["r"]?.intValue)
      let names = (json["target_modules"]?.arrayValue ?? []).compactMap(\.stringValue)
      let targets = Set(names.compactMap { LoRATarget(name: $0) })
      #expect(targets.count == names.count, "\(file)")
      let model = file.hasPrefix("mixtral") ? "mixtral-experts" : "mistral-window"
      let layout = try layout(
        model, LoRASettings(loraRank: loraRank, alpha: 1, targets: targets))
      let read = try read(json, AdapterFile.weights(layout, values(layout)), model: model)
      #expect(read.settings.loraRank == loraRank)
      #expect(read.settings.alpha == json["lora_alpha"]?.doubleValue)
      #expect(read.settings.targets == targets)
      count += 1
    }
    #expect(count >= 6)
  }
}
