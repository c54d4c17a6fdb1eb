// What a backend may override.
extension Backend {
  package var hasHostMemory: Bool { true }
  package func freeByteCount() throws(ComputeError) -> Int? { nil }
  package var memoryName: String? { nil }
  package var peakByteCount: Int? { nil }
  package func chooseProducts(_ sizes: [ProductSizes], keeping known: ProductChoices?)
    throws(ComputeError) -> ProductChoices?
  { nil }
  package func adoptProducts(_ choices: ProductChoices) throws(ComputeError) {}

  package func linear(
    _ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, adding term: LowRankTerm, out: Tensor
  ) throws(ComputeError) {
    try linear(x, weight, bias: bias, out: out)
    try matmulTransposed(
      term.factor, term.matrix, scaling: term.scaling, out: out, accumulate: true)
  }

  package func linearBackward(
    _ dy: Tensor, _ weight: BaseMatrix, adding term: LowRankTerm, dx: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try linearBackward(dy, weight, dx: dx, accumulate: accumulate)
    try matmul(term.factor, term.matrix, scaling: term.scaling, out: dx, accumulate: true)
  }

  /// Memory that the host can read and the device can copy from and to.
  package func makeHostTensor(byteCount: Int, _ elementType: ElementType = .uint8)
    throws(ComputeError) -> Tensor
  {
    Tensor(
      storage: try Storage(hostByteCount: byteCount), columns: byteCount / elementType.byteCount,
      elementType: elementType)
  }
}
