internal import Compute

/// The adapter of one matrix: its weights, and where its gradients lie in the flat vector of all.
struct Adapter {
  /// `[R, in]`, float32.
  let loraA: Tensor
  /// `[out, R]`, float32.
  let loraB: Tensor
  /// `alpha / loraRank`, or with the root of the rank.
  let scaling: Float
  /// Elements of A and of B in the flat vector.
  let rangeA: Range<Int>
  let rangeB: Range<Int>
}

/// Dropout of an adapter's input; the mask is made again in the backward pass.
struct InputDropout {
  let key: DropoutKey
  /// `[T, 2]` int32: sample and position of each row.
  let tokens: Tensor
}

/// A frozen linear with an optional adapter: `y = x W^T + bias + scaling * (dropout(x) A^T) B^T`.
///
/// Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; dropout as PEFT places it.
struct LoRALinear {
  let base: BaseMatrix
  let bias: Tensor?
  let adapter: Adapter?

  /// - Parameters:
  ///   - x: `[T, in]`.
  ///   - dropped: `dropout(x)`, or `x` itself without dropout.
  ///   - out: `[T, out]`; overwritten.
  ///   - xa: `[T, R]`; overwritten with `dropped A^T`, kept for the backward pass. Nil without adapter.
  func forward(
    _ x: Tensor, dropped: Tensor, out: Tensor, xa: Tensor?, backend: any Backend
  ) throws {
    guard let adapter, let xa else {
      return try backend.linear(x, base, bias: bias, out: out)
    }
    try backend.matmulTransposed(
      dropped, adapter.loraA, scaling: 1, out: xa, accumulate: false)
    try backend.linear(
      x, base, bias: bias,
      adding: LowRankTerm(factor: xa, matrix: adapter.loraB, scaling: adapter.scaling), out: out)
  }

  /// Accumulates the adapter's gradients; the frozen matrix gets none.
  ///
  /// - Parameters:
  ///   - dy: `[T, out]`.
  ///   - dropped: as in the forward pass.
  ///   - xa: `[T, R]` of the forward pass.
  ///   - dx: `[T, in]`; overwritten, or added to when `accumulate` is set.
  ///   - dropout: of the input, nil without.
  ///   - context: has the flat vector of gradients, and the arena for temporaries, given back.
  func backward(
    _ dy: Tensor, dropped: Tensor, xa: Tensor?, dx: Tensor, accumulate: Bool,
    dropout: InputDropout?, context: PassContext
  ) throws {
    let backend = context.backend
    let arena = context.arena
    guard let adapter, let xa, let gradients = context.gradients else {
      return try backend.linearBackward(dy, base, dx: dx, accumulate: accumulate)
    }
    let gradientA = gradients.elements(adapter.rangeA)
      .reshaped(rows: adapter.loraA.rows, columns: adapter.loraA.columns)
    let gradientB = gradients.elements(adapter.rangeB)
      .reshaped(rows: adapter.loraB.rows, columns: adapter.loraB.columns)
    let mark = arena.mark
    defer { arena.release(to: mark) }
    let dxa = arena.allocate(xa.rows, xa.columns)
    try backend.accumulateOuterProduct(dy, xa, scaling: adapter.scaling, gradient: gradientB)
    try backend.matmul(dy, adapter.loraB, scaling: adapter.scaling, out: dxa, accumulate: false)
    try backend.accumulateOuterProduct(dxa, dropped, scaling: 1, gradient: gradientA)
    if let dropout {
      try backend.linearBackward(dy, base, dx: dx, accumulate: accumulate)
      let ddropped = arena.allocate(dx.rows, dx.columns)
      try backend.matmul(dxa, adapter.loraA, scaling: 1, out: ddropped, accumulate: false)
      try backend.dropoutBackward(ddropped, tokens: dropout.tokens, key: dropout.key, dx: dx)
    } else {
      try backend.linearBackward(
        dy, base, adding: LowRankTerm(factor: dxa, matrix: adapter.loraA, scaling: 1), dx: dx,
        accumulate: accumulate)
    }
  }
}
