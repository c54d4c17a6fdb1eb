internal import Compute
internal import Data
internal import Model
internal import Support

/// The files of a run; rank 0 writes them.
struct RunFiles {
  let output: String
  let layout: AdapterLayout
  let family: ModelConfiguration.Architecture
  /// `base_model_name_or_path` of the adapter.
  let baseModel: String
  let identity: JSONObject
  /// How products are computed; see ``ProductAgreement``.
  let products: ProductChoices?

  var metricsPath: String { "\(output)/metrics.jsonl" }

  private var adapterConfiguration: String {
    AdapterFile.configuration(layout.settings, family: family, baseModel: baseModel)
  }

  /// Writes `run.yaml` and copies the tokenizer's files.
  func writeSettings(
    _ configuration: TrainConfiguration, output: String, tokenizer: LoadedTokenizer?,
    modelDirectory: String
  ) throws(UserError) {
    var used = configuration
    used.output = output
    try FileSystem.writeAtomically(used.yamlText, to: "\(output)/run.yaml")
    if let products {
      try FileSystem.writeAtomically(products.text, to: "\(output)/\(ProductAgreement.fileName)")
    }
    for name in tokenizer?.fileNames ?? [] {
      try FileSystem.writeAtomically(
        FileSystem.readBytes("\(modelDirectory)/\(name)"), to: "\(output)/\(name)")
    }
    // What was trained with goes along with the adapter.
    for name in ChatTemplates.fileNames {
      let path = "\(modelDirectory)/\(name)"
      guard FileSystem.exists(path) else { continue }
      try FileSystem.writeAtomically(FileSystem.readBytes(path), to: "\(output)/\(name)")
    }
    if let path = configuration.samples.chatTemplate {
      let name = ChatTemplates.fileNames[path.hasSuffix(".json") ? 1 : 0]
      try FileSystem.writeAtomically(FileSystem.readBytes(path), to: "\(output)/\(name)")
    }
  }

  /// Writes the adapter as PEFT reads it.
  func writeAdapter(_ weights: [Float]) throws(UserError) {
    try FileSystem.writeAtomically(
      AdapterFile.weights(layout, weights), to: "\(output)/\(AdapterFile.weightsName)")
    try FileSystem.writeAtomically(
      adapterConfiguration, to: "\(output)/\(AdapterFile.configurationName)")
  }

  /// Writes a checkpoint, then removes the oldest.
  func writeCheckpoint(
    step: Int, weights: [Float], firstMoment: [Float], secondMoment: [Float], keeping count: Int
  ) throws(UserError) {
    let checkpoint = Checkpoint(
      step: step, weights: weights, firstMoment: firstMoment, secondMoment: secondMoment,
      identity: identity, products: products)
    try checkpoint.write(
      to: output, layout: layout, adapterConfiguration: adapterConfiguration)
    try Checkpoint.prune(output, keeping: count)
  }
}
