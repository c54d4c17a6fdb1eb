package import Compute
internal import Support

/// The storage of a checkpoint that is quantized already: NF4 in bitsandbytes' layout.
package struct StoredQuantization: Sendable, Equatable {
  package var isDouble: Bool
  /// Modules that kept plain numbers, beside the head.
  package var skippedModules: [String]

  /// Reads `quantization_config`; nil where there is none.
  init?(_ reader: ConfigurationReader) throws(UserError) {
    let name = "quantization_config"
    guard let value = reader.json[name], !value.isNull else { return nil }
    func refuse(_ what: String) -> UserError {
      reader.error(
        "\(name): \(what) is not implemented, only nf4 of bitsandbytes",
        fix: "give the bf16, f16 or f32 checkpoint; --quant nf4 quantizes it while loading")
    }
    func isOn(_ key: String) -> Bool {
      value[key]?.boolValue ?? false || value["_" + key]?.boolValue ?? false
    }
    let method = value["quant_method"]?.stringValue
    guard method == "bitsandbytes" || (method == nil && isOn("load_in_4bit")) else {
      throw refuse("quant_method \(method?.prefix(40) ?? "none")")
    }
    guard !isOn("load_in_8bit"), isOn("load_in_4bit") else { throw refuse("load_in_8bit") }
    let type = value["bnb_4bit_quant_type"]?.stringValue ?? "fp4"
    guard type == "nf4" else { throw refuse("bnb_4bit_quant_type \(type.prefix(40))") }
    isDouble = value["bnb_4bit_use_double_quant"]?.boolValue ?? false
    skippedModules = (value["llm_int8_skip_modules"]?.arrayValue ?? []).compactMap(\.stringValue)
  }

  /// How a tensor lies in the files, by its name alone: every linear but the head and the modules
  /// that were skipped is NF4.
  package func format(of name: String, plain type: ElementType) -> SlabLayout.Format {
    let module = name.hasSuffix(".weight") ? String(name.dropLast(7)) : name
    let isKept =
      module == "lm_head" || module == "model.embed_tokens"
      || skippedModules.contains { skipped in
        module == skipped || module.hasSuffix("." + skipped) || module.hasPrefix(skipped + ".")
          || module.contains("." + skipped + ".")
      }
    return isKept ? .dense(type) : .nf4(isDouble: isDouble)
  }
}
