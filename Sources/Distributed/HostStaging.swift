internal import Compute

/// Memory of the host that tensors of a device pass through on their way between ranks. Where the
/// device's memory is the host's, tensors are used where they lie and nothing is copied.
final class HostStaging {
  private let backend: any Backend
  private var buffers: [Int: Tensor] = [:]

  init(_ backend: any Backend) { self.backend = backend }

  /// Memory of the tensor's shape that the host reads and writes.
  ///
  /// - Parameters:
  ///   - tensor: of the device.
  ///   - number: of the buffer; one number serves one tensor at a time.
  func memory(for tensor: Tensor, _ number: Int) throws(ComputeError) -> Tensor {
    if backend.hasHostMemory { return tensor }
    if buffers[number].map({ $0.byteCount < tensor.byteCount }) ?? true {
      buffers[number] = try backend.makeHostTensor(byteCount: max(tensor.byteCount, 4))
    }
    guard let buffer = buffers[number] else { preconditionFailure("a buffer was just made") }
    return Tensor(
      storage: buffer.storage, rows: tensor.rows, columns: tensor.columns,
      elementType: tensor.elementType)
  }

  /// Copies between the two; nothing where they are one.
  func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {
    if !backend.hasHostMemory { try backend.copy(source, to: destination) }
  }
}
