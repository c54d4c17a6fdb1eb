internal import Compute

/// The tokens of one pack as the model takes them: samples laid end to end.
package struct PackInput: Sendable {
  /// `[T]` token ids.
  package var tokens: [Int32]
  /// `[T]` places in the sample, from 0 at each sample's start.
  package var positions: [Int32]
  /// `[T]` the sample's number in the data set; with the place it keys dropout.
  package var sampleIndices: [Int32]
  /// Samples lie in `boundaries[i] ..< boundaries[i + 1]`.
  package var boundaries: [Int]
  /// Rows that predict a target token, ascending.
  package var targetRows: [Int32]
  /// The tokens they predict.
  package var targets: [Int32]

  package init(
    tokens: [Int32], positions: [Int32], sampleIndices: [Int32], boundaries: [Int],
    targetRows: [Int32], targets: [Int32]
  ) {
    precondition(
      positions.count == tokens.count && sampleIndices.count == tokens.count
        && boundaries.first == 0 && boundaries.last == tokens.count
        && targets.count == targetRows.count)
    self.tokens = tokens
    self.positions = positions
    self.sampleIndices = sampleIndices
    self.boundaries = boundaries
    self.targetRows = targetRows
    self.targets = targets
  }
}

/// A pack on the device.
struct DevicePack {
  let tokenCount: Int
  /// `[1, T]` int32.
  let ids: Tensor
  /// `[1, T]` int32.
  let positions: Tensor
  /// `[T, 2]` int32: sample and position, for dropout.
  let places: Tensor
  /// `[1, n]` int32.
  let targetRows: Tensor
  /// `[1, n]` int32.
  let targets: Tensor

  init(_ input: PackInput, arena: Arena, backend: any Backend) throws {
    tokenCount = input.tokens.count
    func upload(_ values: [Int32], _ rows: Int, _ columns: Int) throws -> Tensor {
      let tensor = arena.allocate(rows, columns, .int32)
      try backend.upload(values, to: tensor)
      return tensor
    }
    ids = try upload(input.tokens, 1, tokenCount)
    positions = try upload(input.positions, 1, tokenCount)
    places = try upload(
      zip(input.sampleIndices, input.positions).flatMap { [$0, $1] }, tokenCount, 2)
    targetRows = try upload(input.targetRows, 1, input.targetRows.count)
    targets = try upload(input.targets, 1, input.targets.count)
  }
}
