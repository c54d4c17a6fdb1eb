internal import Compute
package import Support

/// Where the elements of a frozen base come from.
package enum BaseSource: Sendable {
  case files(ModelFiles)
  case synthetic(SyntheticWeights)

  /// Opens a model.
  ///
  /// - Parameter name: a model directory, or `synthetic:` and the path of a `config.json`.
  /// - Returns: its configuration and where its weights come from.
  /// - Throws: ``UserError`` when files are missing or broken.
  package static func open(_ name: String) throws(UserError) -> (ModelConfiguration, BaseSource) {
    guard let path = SyntheticWeights.path(in: name) else {
      return (
        try ModelConfiguration(directory: name), .files(try ModelFiles(directory: name))
      )
    }
    let weights = try SyntheticWeights(path: path)
    return (weights.model.configuration, .synthetic(weights))
  }

  /// The configuration of a model, whose weights need not be there.
  package static func configuration(_ name: String) throws(UserError) -> ModelConfiguration {
    guard let path = SyntheticWeights.path(in: name) else {
      return try ModelConfiguration(directory: name)
    }
    return try BareModel(path: path).configuration
  }

  /// The model's name, for messages.
  package var name: String {
    switch self {
    case .files(let files): files.directory
    case .synthetic(let weights): SyntheticWeights.prefix + weights.path
    }
  }

  /// How the tensors are stored.
  package var formats: SlabLayout.FormatRule {
    switch self {
    case .files(let files): files.formats
    case .synthetic(let weights): weights.model.formats
    }
  }

  /// A text that other weights change: `config.json`, and elements of every tensor.
  package func fingerprint(_ slabs: [SlabLayout]) -> String {
    let configuration: String
    switch self {
    case .files(let files): configuration = "\(files.directory)/config.json"
    case .synthetic(let weights): configuration = weights.configurationPath
    }
    var text = (try? FileSystem.readText(configuration)) ?? ""
    for layout in slabs {
      for item in layout.items {
        text += "\n\(item.name) \(item.rows) \(item.columns) \(item.format)"
        // Random weights follow from the configuration.
        if case .files(let files) = self { text += files.excerpt(item) }
      }
    }
    return text
  }

  /// The type and all elements of a matrix that is stored as plain numbers.
  func matrix(_ name: String, shape: [Int]) throws(UserError) -> (ElementType?, [Float]) {
    switch self {
    case .files(let files):
      return (ElementType(try files.entry(name, shape: shape).type), try files.floats(name))
    case .synthetic(let weights):
      let random = weights.matrix(name)
      let isRounded = weights.model.elementType == .bfloat16
      return (
        weights.model.elementType,
        (0..<shape.reduce(1, *)).map { isRounded ? roundedToBFloat16(random[$0]) : random[$0] }
      )
    }
  }
}

/// The nearest number that bfloat16 has, ties to even; `x` is finite.
private func roundedToBFloat16(_ x: Float) -> Float {
  let bits = x.bitPattern
  return Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000)
}
