import Compute
import Model
import Support
import TestSupport
import Trainer

/// Models of the folder Fixtures and packs for them.
enum TinyModel {
  static func base(
    _ name: String, _ quantization: QuantizationSettings = .init(),
    placement: BasePlacement = .own, backend: any Backend
  ) throws -> LoadedBase {
    let folder = FileSystem.parent(of: FileSystem.parent(of: #filePath))
    return try LoadedBase(
      LoadedBase.Description(
        directory: "\(folder)/Fixtures/models/\(name)", quantization: quantization,
        backend: backend), placement: placement, backend: backend)
  }

  static func model(_ base: LoadedBase, adapters: AdapterWeights?, _ backend: any Backend) throws
    -> CausalLM
  {
    try CausalLM(
      configuration: base.configuration, layouts: base.layouts, stream: base.stream,
      adapters: adapters, positionCount: 64,
      arena: Arena(storage: try backend.makeStorage(byteCount: 1 << 24), name: "test"),
      backend: backend)
  }

  /// Samples of these lengths laid end to end; every token but the first is a target.
  static func pack(_ lengths: [Int], _ vocabulary: Int, _ random: inout Random) -> PackInput {
    var pack = PackInput(
      tokens: [], positions: [], sampleIndices: [], boundaries: [0], targetRows: [], targets: [])
    for (index, length) in lengths.enumerated() {
      let tokens = random.integers(length, below: vocabulary)
      pack.targetRows += (0..<length - 1).map { Int32(pack.tokens.count + $0) }
      pack.targets += tokens.dropFirst()
      pack.tokens += tokens
      pack.positions += 0..<Int32(length)
      pack.sampleIndices += [Int32](repeating: Int32(index), count: length)
      pack.boundaries.append(pack.tokens.count)
    }
    return pack
  }
}
