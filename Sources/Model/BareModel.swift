package import Compute
package import Support

/// A model of which only `config.json` is known: what a plan needs, and a synthetic model.
package struct BareModel: Sendable {
  package let configuration: ModelConfiguration
  /// Of the elements that such a checkpoint has.
  package let elementType: ElementType
  /// The standard deviation of weights before any training.
  package let initializerRange: Float

  /// - Parameter path: a `config.json`, or a directory with one.
  /// - Throws: ``UserError`` as for a model directory.
  package init(path: String) throws(UserError) {
    let path = FileSystem.isDirectory(path) ? "\(path)/config.json" : path
    let json = try FileSystem.readJSON(path, limit: 1 << 22)
    let names: [String: ElementType] = [
      "bfloat16": .bfloat16, "float16": .float16, "float32": .float32,
    ]
    let given = json["torch_dtype"]?.stringValue ?? json["dtype"]?.stringValue ?? "bfloat16"
    guard let type = names[given] else {
      throw UserError(
        .badInput, at: path, "torch_dtype: \(given.prefix(40)) is not bfloat16, float16 or float32")
    }
    elementType = type
    configuration = try ModelConfiguration(json: json, path: path)
    initializerRange = Float(json["initializer_range"]?.doubleValue ?? 0.02)
    guard initializerRange > 0, initializerRange <= 1 else {
      throw UserError(
        .badInput, at: path, "initializer_range must be greater than 0 and at most 1")
    }
  }

  /// How the tensors of such a checkpoint lie.
  package var formats: SlabLayout.FormatRule {
    let (type, quantization) = (elementType, configuration.storedQuantization)
    return { name, shape in
      shape.count == 2
        ? quantization?.format(of: name, plain: type) ?? .dense(type) : .dense(type)
    }
  }
}
