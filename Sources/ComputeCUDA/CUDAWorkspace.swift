internal import Compute
internal import Synchronization

/// Memory that operations use while they run: taken before a run by its plan, else when first needed,
/// and then kept.
///
/// Operations run one after the other on the device, so that each part serves all of one kind.
final class CUDAWorkspace: Sendable {
  enum Part: String, Hashable, CaseIterable {
    case operand, weight, partialSums, counts, sums
    case queries, keys, values, gradients, deltas
    case queryBlocks, keyBlocks
  }

  private let device: any CUDADevice
  private let parts = Mutex<[Part: Storage]>([:])

  init(_ device: any CUDADevice) { self.device = device }

  /// A tensor of undefined content, valid until the part is asked for again.
  func tensor(_ part: Part, rows: Int = 1, columns: Int, _ elementType: ElementType)
    throws(ComputeError) -> Tensor
  {
    Tensor(
      storage: try storage(part, byteCount: rows * columns * elementType.byteCount), rows: rows,
      columns: columns, elementType: elementType)
  }

  /// Takes memory for a part, if it has less.
  @discardableResult
  func storage(_ part: Part, byteCount: Int) throws(ComputeError) -> Storage {
    let known = parts.withLock { $0[part] }
    if let known, known.byteCount >= byteCount { return known }
    // The old memory goes first.
    parts.withLock { $0[part] = nil }
    let storage = try device.allocate(byteCount: max(byteCount, 16))
    parts.withLock { $0[part] = storage }
    return storage
  }

  /// Bytes of each part that there is.
  var byteCounts: [Part: Int] { parts.withLock { $0.mapValues(\.byteCount) } }
}
