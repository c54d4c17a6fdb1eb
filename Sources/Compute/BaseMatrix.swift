/// A frozen weight `[rows, columns]` = `[out, in]` in its storage format. It has no gradient.
package struct BaseMatrix: Sendable {
  /// How the elements are stored.
  package enum Format: Sendable {
    /// `values` holds the elements in the file's type.
    case dense(Tensor)
    /// 4-bit NormalFloat codes, the first of a pair in the high nibble, and one scale a block.
    case nf4(codes: Tensor, scales: NF4Scales)
  }

  package let rows: Int
  package let columns: Int
  package let format: Format
  /// Products with this matrix are float32 whatever the precision of the run: the router's.
  package let isAlwaysFloat32: Bool

  package init(rows: Int, columns: Int, format: Format, isAlwaysFloat32: Bool = false) {
    self.isAlwaysFloat32 = isAlwaysFloat32
    self.rows = rows
    self.columns = columns
    self.format = format
    if case .dense(let values) = format {
      precondition(values.rows == rows && values.columns == columns, "shape of a base matrix")
    }
  }

  package var count: Int { rows * columns }
}

/// The scales of an NF4 tensor: one absmax for each block of 64 elements along the flattened
/// weight.
package enum NF4Scales: Sendable {
  /// `[1, blocks]` float32.
  case plain(Tensor)
  /// Double quantization: `codes` `[1, blocks]` uint8 of the 8-bit dynamic code, `absmax`
  /// `[1, ceil(blocks / 256)]` float32, and `offset` `[1, 1]` float32 that is added back.
  case nested(codes: Tensor, absmax: Tensor, offset: Tensor)
}

/// Constants of the NF4 format.
///
/// Source: Dettmers et al. 2023, arXiv:2305.14314, appendix E (code values), and the block sizes
/// and rounding of bitsandbytes.
package enum NF4 {
  @inlinable package static var blockSize: Int { 64 }
  /// Block length of the second quantization, in absmax values.
  package static let nestedBlockSize = 256

  /// The 16 code values, ascending.
  package static let values: [Float] = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
  ]

  /// Whether blocks and rows of a matrix do not cross: rows are whole blocks, or less than one.
  @inlinable
  package static func isAligned(columns: Int) -> Bool {
    columns % blockSize == 0 || columns < blockSize
  }

  /// The scale that decodes an element of a matrix.
  ///
  /// It is that of the element's block, `element / 64`, except for rows that are longer than a block
  /// and no multiple of it: there bitsandbytes on CPU takes scale `row * (columns / 64) + column / 64`,
  /// and losses that agree with it need the same. See docs/decisions.
  @inlinable
  package static func scaleIndex(_ element: Int, columns: Int) -> Int {
    if isAligned(columns: columns) { return element / blockSize }
    let (row, column) = element.quotientAndRemainder(dividingBy: columns)
    return row * (columns / blockSize) + column / blockSize
  }

  package static func blockCount(_ elementCount: Int) -> Int {
    (elementCount + blockSize - 1) / blockSize
  }
  package static func codeByteCount(_ elementCount: Int) -> Int { (elementCount + 1) / 2 }
  package static func nestedBlockCount(_ elementCount: Int) -> Int {
    (blockCount(elementCount) + nestedBlockSize - 1) / nestedBlockSize
  }
}
