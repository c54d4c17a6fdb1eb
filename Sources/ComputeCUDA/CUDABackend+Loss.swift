internal import CCUDA
package import Compute

extension CUDABackend {
  package func selectRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    precondition(
      out.rows == rows.count && out.columns == x.columns && out.elementType == x.elementType,
      "selectRows: shapes differ")
    try launch(
      "select_rows", LaunchGrid(out.rows),
      [
        KernelArgument(x), KernelArgument(rows), KernelArgument(out),
        KernelArgument(Int64(x.columns * x.elementType.byteCount)),
      ])
  }

  package func placeRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    precondition(
      x.rows == rows.count && out.columns == x.columns && out.elementType == x.elementType,
      "placeRows: shapes differ")
    try launch(
      "place_rows", LaunchGrid(x.rows),
      [
        KernelArgument(x), KernelArgument(rows), KernelArgument(out),
        KernelArgument(Int64(x.columns * x.elementType.byteCount)),
      ])
  }

  package func crossEntropy(
    logits: Tensor, targets: Tensor, losses: Tensor, gradientScale: Float?
  ) throws(ComputeError) {
    precondition(targets.count == logits.rows && losses.count == logits.rows)
    try launch(
      "cross_entropy", LaunchGrid(logits.rows),
      [
        KernelArgument(logits), KernelArgument(targets), KernelArgument(losses),
        KernelArgument(Int32(logits.columns)), KernelArgument(gradientScale ?? 0),
        KernelArgument(Int32(gradientScale == nil ? 0 : 1)),
      ])
  }

  package func argmax(_ x: Tensor, out: Tensor) throws(ComputeError) {
    precondition(out.count == x.rows && x.columns > 0)
    try launch(
      "argmax_rows", LaunchGrid(x.rows),
      [KernelArgument(x), KernelArgument(out), KernelArgument(Int32(x.columns))])
  }

  package func sumsOfSquares(_ x: Tensor, blockSize: Int) throws(ComputeError) -> [Double] {
    let blocks = (x.count + blockSize - 1) / blockSize
    if blocks == 0 { return [] }
    // Two words for each sum in double precision.
    let sums = try workspace.tensor(.sums, columns: 2 * blocks, .int32)
    try launch(
      "sums_of_squares", LaunchGrid(blocks),
      [
        KernelArgument(x), KernelArgument(sums), KernelArgument(Int64(x.count)),
        KernelArgument(Int64(blockSize)),
      ])
    return try downloadElements(sums, zero: 0.0)
  }

  package func adamW(
    weights: Tensor, gradients: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    update: AdamWUpdate
  ) throws(ComputeError) {
    let count = weights.count
    precondition(
      gradients.count == count && firstMoment.count == count && secondMoment.count == count)
    // Scalars in double precision, rounded once, as torch does.
    try launch(
      "adamw", items: count,
      [
        KernelArgument(weights), KernelArgument(gradients), KernelArgument(firstMoment),
        KernelArgument(secondMoment), KernelArgument(Int64(count)),
        KernelArgument(Float(update.gradientScale)),
        KernelArgument(Float(1 - update.learningRate * update.weightDecay)),
        KernelArgument(Float(update.learningRate / update.biasCorrection1)),
        KernelArgument(Float(update.biasCorrection2.squareRoot())),
        KernelArgument(Float(1 - update.beta1)), KernelArgument(Float(update.beta2)),
        KernelArgument(Float(1 - update.beta2)), KernelArgument(Float(update.epsilon)),
      ])
  }

  // MARK: Quantization

  package func fill(_ out: Tensor, with random: RandomTensor, from first: Int)
    throws(ComputeError)
  {
    precondition(first % 32 == 0, "fill: from element \(first)")
    precondition(out.elementType == .float32 || out.elementType == .bfloat16)
    try launch(
      "random_weights", items: (out.count + 7) / 8,
      [
        KernelArgument(out), KernelArgument(Int32(out.elementType == .bfloat16 ? 1 : 0)),
        KernelArgument(Int64(first / 8)), KernelArgument(Int64(out.count)),
        KernelArgument(random.streamWords.x), KernelArgument(random.streamWords.y),
        KernelArgument(random.generatorKey.x), KernelArgument(random.generatorKey.y),
        KernelArgument(random.scale),
      ])
  }

  static let finiteBlockCount = 256

  package func isFinite(_ x: Tensor) throws(ComputeError) -> Bool {
    if x.count == 0 { return true }
    let blocks = min((x.count + 1023) / 1024, Self.finiteBlockCount)
    let found = try workspace.tensor(.sums, columns: blocks, .int32)
    try launch(
      "find_not_finite", LaunchGrid(blocks),
      [
        KernelArgument(x), KernelArgument(Self.format(of: x.elementType)),
        KernelArgument(Int64(x.count)), KernelArgument(found),
      ])
    return try downloadElements(found, zero: Int32(0)).allSatisfy { $0 == 0 }
  }

  package func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError) {
    let count = x.count
    precondition(
      codes.count == NF4.codeByteCount(count) && absmax.count == NF4.blockCount(count),
      "quantizeNF4: \(count) elements, \(codes.count) bytes, \(absmax.count) scales")
    try launch(
      "quantize_nf4", items: 32 * absmax.count,
      [
        KernelArgument(x), KernelArgument(Self.format(of: x.elementType)), KernelArgument(codes),
        KernelArgument(absmax), KernelArgument(Int64(count)),
      ])
  }

  package func quantizeScales(
    _ absmax: Tensor, offset: Float, codes: Tensor, nestedAbsmax: Tensor
  ) throws(ComputeError) {
    let blocks = (absmax.count + NF4.nestedBlockSize - 1) / NF4.nestedBlockSize
    precondition(codes.count == absmax.count && nestedAbsmax.count == blocks)
    try launch(
      "quantize_scales", LaunchGrid(blocks),
      [
        KernelArgument(absmax), KernelArgument(dynamicCode.elements(256..<511)),
        KernelArgument(codes), KernelArgument(nestedAbsmax), KernelArgument(offset),
        KernelArgument(Int64(absmax.count)),
      ])
  }

  package func decode(_ matrix: BaseMatrix, out: Tensor) throws(ComputeError) {
    precondition(out.count == matrix.count)
    try launch(
      "decode_floats", items: matrix.count,
      [
        source(of: matrix), KernelArgument(out), KernelArgument(Int64(matrix.rows)),
        KernelArgument(Int32(matrix.columns)),
      ])
  }

  /// The number of a dense format in the kernels.
  private static func format(of type: ElementType) -> Int64 {
    switch type {
    case .float32: 0
    case .bfloat16: 1
    case .float16: 2
    default: preconditionFailure("a base matrix of \(type)")
    }
  }

  /// Where a base matrix lies, as kernels take it.
  func source(of matrix: BaseMatrix) -> KernelArgument {
    var source = unsafe ccuda_weight_source()
    switch matrix.format {
    case .dense(let values):
      unsafe source.values = UnsafeRawPointer(values.address)
      unsafe source.format = Self.format(of: values.elementType)
    case .nf4(let codes, let scales):
      unsafe source.values = UnsafeRawPointer(codes.address)
      switch scales {
      case .plain(let absmax):
        unsafe source.format = 3
        unsafe source.absmax = UnsafeRawPointer(absmax.address)
      case .nested(let scaleCodes, let absmax, let offset):
        unsafe source.format = 4
        unsafe source.absmax = UnsafeRawPointer(absmax.address)
        unsafe source.scale_codes = UnsafeRawPointer(scaleCodes.address)
        unsafe source.offset = UnsafeRawPointer(offset.address)
        unsafe source.dynamic_code = UnsafeRawPointer(dynamicCode.address)
      }
    }
    return unsafe KernelArgument(source)
  }
}
