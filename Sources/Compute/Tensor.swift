/// A contiguous row-major matrix `[rows, columns]` inside a storage; a value that keeps it alive.
///
/// Vectors are `[1, n]`; what is `[T, H, D]` elsewhere is `[T, H * D]` here.
package struct Tensor: Sendable {
  package let storage: Storage
  package let byteOffset: Int
  package let rows: Int
  package let columns: Int
  package let elementType: ElementType

  package var count: Int { rows * columns }
  package var byteCount: Int { count * elementType.byteCount }

  package init(
    storage: Storage, byteOffset: Int = 0, rows: Int = 1, columns: Int,
    elementType: ElementType = .float32
  ) {
    precondition(
      rows >= 0 && columns >= 0 && byteOffset >= 0
        && byteOffset + rows * columns * elementType.byteCount <= storage.byteCount,
      "tensor [\(rows), \(columns)] at byte \(byteOffset) lies outside \(storage.byteCount) bytes")
    self.storage = storage
    self.byteOffset = byteOffset
    self.rows = rows
    self.columns = columns
    self.elementType = elementType
  }

  /// Rows `range` of the same memory.
  package func rows(_ range: Range<Int>) -> Tensor {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    return Tensor(
      storage: storage,
      byteOffset: byteOffset + range.lowerBound * columns * elementType.byteCount,
      rows: range.count, columns: columns, elementType: elementType)
  }

  /// Elements `range` of the same memory as a vector.
  package func elements(_ range: Range<Int>) -> Tensor {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of \(count)")
    return Tensor(
      storage: storage, byteOffset: byteOffset + range.lowerBound * elementType.byteCount,
      rows: 1, columns: range.count, elementType: elementType)
  }

  /// The same elements under another shape.
  package func reshaped(rows: Int, columns: Int) -> Tensor {
    precondition(
      rows * columns == count, "[\(self.rows), \(self.columns)] as [\(rows), \(columns)]")
    return Tensor(
      storage: storage, byteOffset: byteOffset, rows: rows, columns: columns,
      elementType: elementType)
  }

  /// The same bytes as a vector of another type.
  package func viewed(as type: ElementType) -> Tensor {
    precondition(byteCount % type.byteCount == 0, "\(byteCount) bytes as \(type)")
    return Tensor(
      storage: storage, byteOffset: byteOffset, columns: byteCount / type.byteCount,
      elementType: type)
  }

  /// The first byte; valid while the tensor lives. Host memory only where the storage is.
  package var address: UnsafeMutableRawPointer { unsafe storage.address + byteOffset }

  /// The elements as float32.
  package var floats: UnsafeMutablePointer<Float> {
    precondition(elementType == .float32, "float32 was expected, not \(elementType)")
    precondition(storage.isOnHost, "memory of a device was read as the host's")
    return unsafe address.assumingMemoryBound(to: Float.self)
  }

  /// The elements as int32.
  package var int32s: UnsafeMutablePointer<Int32> {
    precondition(elementType == .int32, "int32 was expected, not \(elementType)")
    precondition(storage.isOnHost, "memory of a device was read as the host's")
    return unsafe address.assumingMemoryBound(to: Int32.self)
  }
}
