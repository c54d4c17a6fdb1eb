// What a backend may override.
extension Backend {
  package var hasHostMemory: Bool { true }
  package func beginPass(isGenerating: Bool) {}
  package func freeByteCount() throws(ComputeError) -> Int? { nil }

  /// Memory that the host can read and the device can copy from and to.
  package func makeHostTensor(byteCount: Int, _ elementType: ElementType = .uint8)
    throws(ComputeError) -> Tensor
  {
    Tensor(
      storage: try Storage(hostByteCount: byteCount), columns: byteCount / elementType.byteCount,
      elementType: elementType)
  }
}
