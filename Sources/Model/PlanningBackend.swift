package import Compute

/// A backend that computes nothing: running a step over it shows how much memory the step takes.
///
/// The router sends every token to the first experts, which makes the temporaries of an expert as
/// large as they can become.
package final class PlanningBackend: Backend {
  package let activationType: ElementType
  /// What the device takes besides tensors.
  package let meter: (any WorkspaceMeter)?
  package var summary: String { "planning" }

  package init(activationType: ElementType, meter: (any WorkspaceMeter)? = nil) {
    self.activationType = activationType
    self.meter = meter
  }

  package func makeStorage(byteCount: Int) throws(ComputeError) -> Storage {
    Storage(unbackedByteCount: byteCount)
  }
  package func upload(_ values: [Float], to tensor: Tensor) throws(ComputeError) {}
  package func upload(_ values: [Int32], to tensor: Tensor) throws(ComputeError) {}
  package func download(_ tensor: Tensor) throws(ComputeError) -> [Float] {
    [Float](repeating: 0, count: tensor.count)
  }
  package func downloadInt32(_ tensor: Tensor) throws(ComputeError) -> [Int32] {
    [Int32](repeating: 0, count: tensor.count)
  }
  package func zero(_ tensor: Tensor) throws(ComputeError) {}
  package func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {}
  package func add(_ x: Tensor, to out: Tensor) throws(ComputeError) {}
  package func scale(_ x: Tensor, by factor: Float) throws(ComputeError) {}
  package func linear(_ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, out: Tensor)
    throws(ComputeError)
  {
    meter?.linear(rows: x.rows, weight, isBackward: false, loraRank: nil)
  }
  package func linear(
    _ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, adding term: LowRankTerm, out: Tensor
  ) throws(ComputeError) {
    meter?.linear(rows: x.rows, weight, isBackward: false, loraRank: term.rank)
  }
  package func linearBackward(_ dy: Tensor, _ weight: BaseMatrix, dx: Tensor, accumulate: Bool)
    throws(ComputeError)
  {
    meter?.linear(rows: dy.rows, weight, isBackward: true, loraRank: nil)
  }
  package func linearBackward(
    _ dy: Tensor, _ weight: BaseMatrix, adding term: LowRankTerm, dx: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    meter?.linear(rows: dy.rows, weight, isBackward: true, loraRank: term.rank)
  }
  package func matmulTransposed(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    meter?.product(x, matrix, transposes: true)
  }
  package func matmul(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    meter?.product(x, matrix, transposes: false)
  }
  package func accumulateOuterProduct(
    _ dy: Tensor, _ x: Tensor, scaling: Float, gradient: Tensor
  ) throws(ComputeError) {
    meter?.outerProduct(rows: x.rows, gradient)
  }
  package func embedding(_ ids: Tensor, _ table: BaseMatrix, out: Tensor) throws(ComputeError) {}
  package func rmsNorm(
    _ x: Tensor, weight: Tensor, epsilon: Float, out: Tensor, reciprocalRMS: Tensor
  ) throws(ComputeError) {}
  package func rmsNormBackward(
    _ dy: Tensor, x: Tensor, weight: Tensor, reciprocalRMS: Tensor, dx: Tensor
  ) throws(ComputeError) {}
  package func rotary(
    _ x: Tensor, positions: Tensor, table: Tensor, headWidth: Int, inverse: Bool
  ) throws(ComputeError) {}
  package func attention(
    q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, out: Tensor, logSumExp: Tensor
  ) throws(ComputeError) {
    meter?.attention(shape, isBackward: false)
  }
  package func attentionBackward(
    _ dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSumExp: Tensor,
    shape: AttentionShape, dq: Tensor, dk: Tensor, dv: Tensor
  ) throws(ComputeError) {
    meter?.attention(shape, isBackward: true)
  }
  package func swiGLU(gate: Tensor, up: Tensor, out: Tensor) throws(ComputeError) {}
  package func swiGLUBackward(
    _ dout: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor
  ) throws(ComputeError) {}
  package func dropout(_ x: Tensor, tokens: Tensor, key: DropoutKey, out: Tensor)
    throws(ComputeError)
  {}
  package func dropoutBackward(_ dy: Tensor, tokens: Tensor, key: DropoutKey, dx: Tensor)
    throws(ComputeError)
  {}
  package func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError)
    -> [Int]
  {
    meter?.route(routing)
    return (0..<logits.columns).map { $0 < routing.experts.columns ? logits.rows : 0 }
  }
  package func routeBackward(
    dweights: Tensor, normalize: Bool, probabilityGradient: Tensor, routing: Routing,
    dlogits: Tensor
  ) throws(ComputeError) {}
  package func gatherRows(_ x: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {}
  package func gatherRowsBackward(_ dy: Tensor, routing: Routing, dx: Tensor)
    throws(ComputeError)
  {}
  package func combineExperts(_ y: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {}
  package func combineExpertsBackward(
    _ dout: Tensor, y: Tensor, routing: Routing, dy: Tensor, dweights: Tensor
  ) throws(ComputeError) {}
  package func selectRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {}
  package func placeRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {}
  package func crossEntropy(
    logits: Tensor, targets: Tensor, losses: Tensor, gradientScale: Float?
  ) throws(ComputeError) {}
  package func argmax(_ x: Tensor, out: Tensor) throws(ComputeError) {}
  package func sumsOfSquares(_ x: Tensor, blockSize: Int) throws(ComputeError) -> [Double] {
    meter?.sumsOfSquares(count: x.count, blockSize: blockSize)
    return [Double](repeating: 0, count: (x.count + blockSize - 1) / blockSize)
  }
  package func adamW(
    weights: Tensor, gradients: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    update: AdamWUpdate
  ) throws(ComputeError) {}
  package func fill(_ out: Tensor, with random: RandomTensor, from first: Int)
    throws(ComputeError)
  {}
  package func synchronize() throws(ComputeError) {}
  package func isFinite(_ x: Tensor) throws(ComputeError) -> Bool { true }
  package func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError) {}
  package func quantizeScales(
    _ absmax: Tensor, offset: Float, codes: Tensor, nestedAbsmax: Tensor
  ) throws(ComputeError) {}
  package func decode(_ matrix: BaseMatrix, out: Tensor) throws(ComputeError) {}
}
