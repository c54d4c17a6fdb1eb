package import Compute

/// Adapters that ride along: where a weight is decoded to bfloat16 anyway, its copy gets the adapter's
/// matrix as further columns (forward) or rows (backward), and the other operand the adapter's factor,
/// so that one product adds both. See docs/decisions/0004.
extension CUDABackend {
  /// Beyond this rank the longer product costs more than it saves.
  static let largestRidingRank = 256

  static func ridesAlong(_ weight: BaseMatrix, rank: Int, _ precision: Precision) -> Bool {
    weight.isRounded(precision) && weight.isDecoded(precision) && rank <= largestRidingRank
  }

  package func linear(
    _ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, adding term: LowRankTerm, out: Tensor
  ) throws(ComputeError) {
    let (T, C, N, R) = (x.rows, weight.columns, weight.rows, term.rank)
    precondition(
      x.columns == C && out.rows == T && out.columns == N && (bias?.count ?? N) == N
        && term.factor.rows == T && term.matrix.rows == N && term.matrix.columns == R,
      "linear: x [\(T), \(x.columns)], weight [\(N), \(C)], rank \(R)")
    if T == 0 { return }
    guard Self.ridesAlong(weight, rank: R, precision) else {
      try linear(x, weight, bias: bias, out: out)
      return try matmulTransposed(
        term.factor, term.matrix, scaling: term.scaling, out: out, accumulate: true)
    }
    // [x | scaling factor] times [W | M]^T, each part padded.
    let (own, all) = (Self.padded(C), Self.padded(C) + Self.padded(R))
    let left = try workspace.tensor(.operand, rows: T, columns: all, .bfloat16)
    let right = try workspace.tensor(.weight, rows: N, columns: all, .bfloat16)
    try round(x, to: left, columns: 0..<own)
    try round(term.factor, to: left, columns: own..<all, scaling: term.scaling)
    try decode(weight, toRounded: right)
    try round(term.matrix, to: right, columns: own..<all)
    try multiply(
      left, right, transposesB: true, columns: N, bRows: N, out: out, bias: bias,
      accumulate: false)
  }

  package func linearBackward(
    _ dy: Tensor, _ weight: BaseMatrix, adding term: LowRankTerm, dx: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    let (T, C, N, R) = (dy.rows, weight.columns, weight.rows, term.rank)
    precondition(
      dy.columns == N && dx.rows == T && dx.columns == C && term.factor.rows == T
        && term.matrix.rows == R && term.matrix.columns == C,
      "linearBackward: dy [\(T), \(dy.columns)], weight [\(N), \(C)], rank \(R)")
    if T == 0 { return }
    guard Self.ridesAlong(weight, rank: R, precision) else {
      try linearBackward(dy, weight, dx: dx, accumulate: accumulate)
      return try matmul(
        term.factor, term.matrix, scaling: term.scaling, out: dx, accumulate: true)
    }
    // [dy | scaling factor] times W over M, with rows of zeros between them where N is no whole step.
    let (own, all) = (Self.padded(N), Self.padded(N) + Self.padded(R))
    let left = try workspace.tensor(.operand, rows: T, columns: all, .bfloat16)
    let right = try workspace.tensor(
      .weight, rows: own + R, columns: Self.padded(C), .bfloat16)
    try round(dy, to: left, columns: 0..<own)
    try round(term.factor, to: left, columns: own..<all, scaling: term.scaling)
    try decode(weight, toRounded: right.rows(0..<N))
    if own > N { try zero(right.rows(N..<own)) }
    try round(term.matrix, to: right.rows(own..<own + R))
    try multiply(
      left, right, transposesB: false, columns: C, bRows: own + R, out: dx, bias: nil,
      accumulate: accumulate)
  }
}
