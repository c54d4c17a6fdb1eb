internal import Compute
package import Support

/// Adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.
package struct AdapterFile: Sendable {
  package static let configurationName = "adapter_config.json"
  package static let weightsName = "adapter_model.safetensors"
  private static let prefix = "base_model.model."

  package let settings: LoRASettings
  package let layout: AdapterLayout
  /// The flat vector of the layout.
  package let values: [Float]

  // MARK: Reading

  /// Reads an adapter directory.
  ///
  /// - Parameters:
  ///   - directory: with both files.
  ///   - configuration: of the model it belongs to.
  ///   - base: the model's weights; a saved copy of the head's base weight must equal theirs.
  /// - Throws: ``UserError`` when files are missing, broken, of another model, or use features of
  ///   PEFT that are not implemented.
  package init(directory: String, configuration: ModelConfiguration, base: BaseSource)
    throws(UserError)
  {
    let path = "\(directory)/\(Self.configurationName)"
    guard FileSystem.exists(path) else {
      throw UserError(
        .badInput, at: directory, "no \(Self.configurationName) in it",
        fix: "give a directory that PEFT or `train` saved an adapter in")
    }
    let json = try FileSystem.readJSON(path, limit: 1 << 22)
    try Self.refuseUnknownFeatures(json, path)
    guard let loraRank = json["r"]?.intValue, loraRank > 0, loraRank <= 1 << 16 else {
      throw UserError(.badInput, at: path, "r is no positive integer")
    }
    guard let alpha = json["lora_alpha"]?.doubleValue, alpha > 0 else {
      throw UserError(.badInput, at: path, "lora_alpha is no positive number")
    }
    let dropout = json["lora_dropout"]?.doubleValue ?? 0
    guard dropout >= 0, dropout < 1 else {
      throw UserError(
        .badInput, at: path, "lora_dropout is \(dropout), but it must be at least 0 and less than 1"
      )
    }
    let file = try SafetensorsFile(path: "\(directory)/\(Self.weightsName)")

    // The targets are those the file has matrices for.
    let everything = AdapterLayout(
      configuration,
      LoRASettings(loraRank: loraRank, alpha: alpha, targets: Set(LoRATarget.allCases)))
    let modules = Set(everything.entries.map(\.module))
    var targets: Set<LoRATarget> = []
    for name in file.entries.keys.sorted() {
      if let copied = Self.copiedBaseTensor(name, configuration) {
        try Self.checkCopy(file, name, of: copied, configuration, base)
        continue
      }
      guard let module = Self.module(ofTensor: name), modules.contains(module),
        let last = module.split(separator: ".").last,
        let target = LoRATarget.allCases.first(where: {
          $0.moduleName(configuration.architecture) == last
        })
      else {
        throw UserError(
          .badInput, at: file.path, "tensor \(name) belongs to no matrix of this model",
          fix: "use an adapter that was trained on this base; fused expert adapters are not read")
      }
      targets.insert(target)
    }
    guard !targets.isEmpty else {
      throw UserError(.badInput, at: file.path, "no adapter weights in it")
    }
    settings = LoRASettings(
      loraRank: loraRank, alpha: alpha, dropout: Float(dropout),
      isRankStabilized: json["use_rslora"]?.boolValue ?? false, targets: targets)
    layout = AdapterLayout(configuration, settings)
    values = try Self.values(of: file, layout: layout)
  }

  /// The flat vector of a layout from an adapter's tensors.
  ///
  /// - Parameters:
  ///   - file: `adapter_model.safetensors`.
  ///   - layout: names and shapes that must be there.
  /// - Returns: the values.
  /// - Throws: ``UserError`` for a tensor that is missing, of another shape or not finite.
  package static func values(of file: SafetensorsFile, layout: AdapterLayout) throws(UserError)
    -> [Float]
  {
    // All shapes before any memory is taken: the rank may be a lie of adapter_config.json.
    var found: [(name: String, stored: SafetensorsFile.Entry, range: Range<Int>)] = []
    for entry in layout.entries {
      for (name, shape, range) in tensors(entry, layout.settings.loraRank) {
        guard let stored = file.entries[name] else {
          throw UserError(
            .badInput, at: file.path,
            "tensor \(name) is missing; an adapted kind of matrix must be adapted in every layer")
        }
        guard stored.shape == shape else {
          throw UserError(
            .badInput, at: file.path, "tensor \(name) has shape \(stored.shape), not \(shape)")
        }
        found.append((name, stored, range))
      }
    }
    var values = [Float](repeating: 0, count: layout.elementCount)
    for (name, stored, range) in found {
      let floats = try file.floats(stored)
      guard floats.allSatisfy(\.isFinite) else {
        throw UserError(
          .notFinite, at: file.path, "tensor \(name) holds values that are not finite numbers")
      }
      values.replaceSubrange(range, with: floats)
    }
    return values
  }

  /// Refuses whatever would change the numbers and is not implemented.
  private static func refuseUnknownFeatures(_ json: JSONValue, _ path: String) throws(UserError) {
    func refuse(_ name: String, fix: String = "") -> UserError {
      UserError(
        .badInput, at: path, "\(name): \(json[name]?.compactText ?? "") is not implemented",
        fix: fix)
    }
    if let kind = json["peft_type"]?.stringValue, kind != "LORA" { throw refuse("peft_type") }
    guard json["target_parameters"]?.arrayValue?.isEmpty ?? true else {
      throw refuse(
        "target_parameters",
        fix: "use an adapter of single experts; those over fused experts, as PEFT makes them with "
          + "transformers 5, train differently and are not read")
    }
    // On or given at all: null, false, 0, "" and empty lists mean off.
    for name in [
      "use_dora", "lora_bias", "use_qalora", "use_bdlora", "fan_in_fan_out", "rank_pattern",
      "alpha_pattern", "modules_to_save", "layers_to_transform", "layer_replication",
      "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config",
      "monteclora_config", "velora_config",
    ] {
      switch json[name] {
      case nil, .null?, .bool(false)?: continue
      case .array(let elements)? where elements.isEmpty: continue
      case .object(let members)? where members.count == 0: continue
      default: throw refuse(name)
      }
    }
    if let bias = json["bias"]?.stringValue, bias != "none" { throw refuse("bias") }
    // Some ways to begin take a part out of the base's weights; the adapter then belongs to what
    // remains and not to the files of the base.
    if let start = json["init_lora_weights"]?.stringValue?.lowercased(),
      !["true", "false", "gaussian", "orthogonal", "eva"].contains(start)
    {
      throw refuse(
        "init_lora_weights",
        fix: "save the adapter for the unchanged base: PEFT's save_pretrained with "
          + "path_initial_model_for_weight_conversion")
    }
  }

  /// The base's tensor that PEFT saved a copy of: with the head among its targets it saves the head
  /// and the embedding, too.
  private static func copiedBaseTensor(_ name: String, _ configuration: ModelConfiguration)
    -> String?
  {
    switch name {
    case prefix + "model.embed_tokens.weight": "model.embed_tokens.weight"
    case prefix + "lm_head.base_layer.weight", prefix + "lm_head.weight":
      configuration.tiesEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight"
    default: nil
    }
  }

  /// A copy must be the base's tensor, rounded to the type that it was saved in.
  private static func checkCopy(
    _ file: SafetensorsFile, _ name: String, of baseName: String,
    _ configuration: ModelConfiguration, _ base: BaseSource
  ) throws(UserError) {
    guard let copy = file.entries[name] else { return }
    let (type, ours) = try base.matrix(
      baseName, shape: [configuration.vocabularySize, configuration.hiddenSize])
    let theirs = try file.floats(copy)
    var isEqual = ours.count == theirs.count
    if isEqual, copy.type == .float32 || ElementType(copy.type) == type {
      isEqual = ours == theirs
    } else if isEqual {
      // Of the two types at least one is shorter: half a unit in its last place, by its width.
      let ulp: Float = copy.type == .bfloat16 || type == .bfloat16 ? 0x1p-8 : 0x1p-11
      isEqual = zip(ours, theirs).allSatisfy { abs($0 - $1) <= ulp * abs($0) + 0x1p-25 }
    }
    guard isEqual else {
      throw UserError(
        .badInput, at: file.path, "tensor \(name) differs from the base's \(baseName)",
        fix: "use the base that the adapter was trained on; a trained head or embedding is not "
          + "implemented")
    }
  }

  /// `model.layers.0.self_attn.q_proj` of `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
  private static func module(ofTensor name: String) -> String? {
    for suffix in [".lora_A.weight", ".lora_B.weight"]
    where name.hasPrefix(prefix) && name.hasSuffix(suffix) {
      return String(name.dropFirst(prefix.count).dropLast(suffix.count))
    }
    return nil
  }

  private static func tensors(_ entry: AdapterLayout.Entry, _ loraRank: Int)
    -> [(name: String, shape: [Int], range: Range<Int>)]
  {
    [
      ("\(prefix)\(entry.module).lora_A.weight", [loraRank, entry.inputs], entry.rangeA),
      ("\(prefix)\(entry.module).lora_B.weight", [entry.outputs, loraRank], entry.rangeB),
    ]
  }

  // MARK: Writing

  /// The bytes of `adapter_model.safetensors`.
  ///
  /// - Parameters:
  ///   - layout: of the flat vector.
  ///   - values: `layout.elementCount` numbers.
  /// - Returns: a safetensors file, the same for the same values.
  package static func weights(_ layout: AdapterLayout, _ values: [Float]) -> [UInt8] {
    precondition(values.count == layout.elementCount)
    var writer = SafetensorsWriter()
    for entry in layout.entries {
      for (name, shape, range) in tensors(entry, layout.settings.loraRank) {
        writer.add(name, shape: shape, floats: Array(values[range]))
      }
    }
    return writer.bytes()
  }

  /// The text of `adapter_config.json`.
  package static func configuration(
    _ settings: LoRASettings, family: ModelConfiguration.Architecture, baseModel: String
  ) -> String {
    let targets = LoRATarget.allCases.filter(settings.targets.contains)
    let alpha: JSONValue =
      Int(exactly: settings.alpha).map { .integer($0) } ?? .double(settings.alpha)
    let json: JSONValue = [
      "base_model_name_or_path": .string(baseModel),
      "bias": "none",
      "fan_in_fan_out": false,
      "inference_mode": true,
      "init_lora_weights": true,
      "lora_alpha": alpha,
      // The shortest decimal that is this float32.
      "lora_dropout": .double(Double("\(settings.dropout)") ?? Double(settings.dropout)),
      "modules_to_save": .null,
      "peft_type": "LORA",
      "r": .integer(settings.loraRank),
      "target_modules": .array(targets.map { .string($0.moduleName(family)) }),
      "task_type": "CAUSAL_LM",
      "use_dora": false,
      "use_rslora": .bool(settings.isRankStabilized),
    ]
    return json.prettyText + "\n"
  }
}
