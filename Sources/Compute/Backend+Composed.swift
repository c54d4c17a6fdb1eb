// What a backend may override.
extension Backend {
  package var hasHostMemory: Bool { true }
  package func freeByteCount() throws(ComputeError) -> Int? { nil }

  package func makeHostStorage(byteCount: Int) throws(ComputeError) -> Storage {
    try Storage(hostByteCount: byteCount)
  }
}

extension Backend {
  /// Bytes in memory of ``makeHostStorage(byteCount:)``.
  package func makeHostTensor(byteCount: Int) throws(ComputeError) -> Tensor {
    Tensor(
      storage: try makeHostStorage(byteCount: byteCount), columns: byteCount, elementType: .uint8)
  }
}
