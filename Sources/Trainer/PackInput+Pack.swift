internal import Data
internal import Model

extension PackInput {
  /// A pack of the data as the model takes it.
  init(_ pack: Pack) {
    let rows = pack.targets.indices.filter { pack.targets[$0] != Pack.noTarget }
    self.init(
      tokens: pack.tokens, positions: pack.positions, sampleIndices: pack.sampleIndices,
      boundaries: pack.cumulativeLengths.map { Int($0) }, targetRows: rows.map { Int32($0) },
      targets: rows.map { pack.targets[$0] })
  }
}
