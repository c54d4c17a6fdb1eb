package import Compute
package import Support

/// The weights of a model that has a configuration and no files: matrices of random numbers, norms
/// of ones, biases of zeros. An element depends on its tensor's name and its place there alone, so
/// that any rank makes any part of it.
package struct SyntheticWeights: Sendable {
  /// What a model's name begins with that has no files; a path to a `config.json` follows.
  package static let prefix = "synthetic:"
  private static let seed: UInt64 = 0

  package let path: String
  package let model: BareModel

  /// The path of the configuration in a model's name; nil for a model directory.
  package static func path(in name: String) -> String? {
    name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : nil
  }

  /// - Parameter path: a `config.json`, or a directory with one.
  /// - Throws: ``UserError`` as for a model directory, and for weights in float16.
  package init(path: String) throws(UserError) {
    self.path = path
    model = try BareModel(path: path)
    guard model.elementType != .float16 else {
      throw UserError(
        .badInput, at: path, "torch_dtype is float16, but random weights are bfloat16 or float32",
        fix: "write \"torch_dtype\": \"bfloat16\" in a copy of the file; both take the same memory")
    }
  }

  /// Of the `config.json`.
  var configurationPath: String {
    FileSystem.isDirectory(path) ? "\(path)/config.json" : path
  }

  /// The elements of a matrix.
  package func matrix(_ name: String) -> RandomTensor {
    var hash = SHA256()
    hash.update(Array(name.utf8))
    let words = hash.finishWords().map { UInt64($0) }
    return RandomTensor(
      seed: Self.seed, stream: words[0] << 32 | words[1],
      standardDeviation: model.initializerRange)
  }

  /// What every element of a vector is.
  func vectorElement(_ name: String) -> Float { name.hasSuffix(".bias") ? 0 : 1 }
}
