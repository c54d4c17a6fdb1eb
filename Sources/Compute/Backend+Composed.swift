// What a backend may override.
extension Backend {
  package var hasHostMemory: Bool { true }
  package func freeByteCount() throws(ComputeError) -> Int? { nil }
  package func chooseProducts(_ sizes: [ProductSizes], keeping known: ProductChoices?)
    throws(ComputeError) -> ProductChoices?
  { nil }
  package func adoptProducts(_ choices: ProductChoices) throws(ComputeError) {}

  /// Memory that the host can read and the device can copy from and to.
  package func makeHostTensor(byteCount: Int, _ elementType: ElementType = .uint8)
    throws(ComputeError) -> Tensor
  {
    Tensor(
      storage: try Storage(hostByteCount: byteCount), columns: byteCount / elementType.byteCount,
      elementType: elementType)
  }
}
