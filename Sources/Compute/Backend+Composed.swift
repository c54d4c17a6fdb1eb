// What a backend may override.
extension Backend {
  package var hasHostMemory: Bool { true }
  package func beginPass(isGenerating: Bool) {}
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
