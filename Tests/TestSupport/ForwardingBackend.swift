package import Compute

/// A backend that hands every operation to another, but for those that a test writes itself.
package protocol ForwardingBackend: Backend {
  var inner: any Backend { get }
}

extension ForwardingBackend {
  package var activationType: ElementType { inner.activationType }
  package var summary: String { inner.summary }

  package func add(_ x: Tensor, to out: Tensor) throws(ComputeError) {
    try inner.add(x, to: out)
  }
  package func embedding(_ ids: Tensor, _ table: BaseMatrix, out: Tensor) throws(ComputeError) {
    try inner.embedding(ids, table, out: out)
  }
  package func rmsNorm(
    _ x: Tensor, weight: Tensor, epsilon: Float, out: Tensor, reciprocalRMS: Tensor
  ) throws(ComputeError) {
    try inner.rmsNorm(x, weight: weight, epsilon: epsilon, out: out, reciprocalRMS: reciprocalRMS)
  }
  package func attention(
    q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, out: Tensor, logSumExp: Tensor
  ) throws(ComputeError) {
    try inner.attention(q: q, k: k, v: v, shape: shape, out: out, logSumExp: logSumExp)
  }
  package func crossEntropy(
    logits: Tensor, targets: Tensor, losses: Tensor, gradientScale: Float?
  ) throws(ComputeError) {
    try inner.crossEntropy(
      logits: logits, targets: targets, losses: losses, gradientScale: gradientScale)
  }
  package func adamW(
    weights: Tensor, gradients: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    update: AdamWUpdate
  ) throws(ComputeError) {
    try inner.adamW(
      weights: weights, gradients: gradients, firstMoment: firstMoment,
      secondMoment: secondMoment, update: update)
  }
  package func makeStorage(byteCount: Int) throws(ComputeError) -> Storage {
    try inner.makeStorage(byteCount: byteCount)
  }
  package func upload(_ values: [Float], to tensor: Tensor) throws(ComputeError) {
    try inner.upload(values, to: tensor)
  }
  package func upload(_ values: [Int32], to tensor: Tensor) throws(ComputeError) {
    try inner.upload(values, to: tensor)
  }
  package func download(_ tensor: Tensor) throws(ComputeError) -> [Float] {
    try inner.download(tensor)
  }
  package func downloadInt32(_ tensor: Tensor) throws(ComputeError) -> [Int32] {
    try inner.downloadInt32(tensor)
  }
  package func zero(_ tensor: Tensor) throws(ComputeError) { try inner.zero(tensor) }
  package func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {
    try inner.copy(source, to: destination)
  }
  package func scale(_ x: Tensor, by factor: Float) throws(ComputeError) {
    try inner.scale(x, by: factor)
  }
  package func linear(_ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, out: Tensor)
    throws(ComputeError)
  {
    try inner.linear(x, weight, bias: bias, out: out)
  }
  package func linearBackward(
    _ dy: Tensor, _ weight: BaseMatrix, dx: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try inner.linearBackward(dy, weight, dx: dx, accumulate: accumulate)
  }
  package func matmulTransposed(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try inner.matmulTransposed(x, matrix, scaling: scaling, out: out, accumulate: accumulate)
  }
  package func matmul(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try inner.matmul(x, matrix, scaling: scaling, out: out, accumulate: accumulate)
  }
  package func accumulateOuterProduct(
    _ dy: Tensor, _ x: Tensor, scaling: Float, gradient: Tensor
  ) throws(ComputeError) {
    try inner.accumulateOuterProduct(dy, x, scaling: scaling, gradient: gradient)
  }
  package func rmsNormBackward(
    _ dy: Tensor, x: Tensor, weight: Tensor, reciprocalRMS: Tensor, dx: Tensor
  ) throws(ComputeError) {
    try inner.rmsNormBackward(dy, x: x, weight: weight, reciprocalRMS: reciprocalRMS, dx: dx)
  }
  package func rotary(
    _ x: Tensor, positions: Tensor, table: Tensor, headWidth: Int, inverse: Bool
  ) throws(ComputeError) {
    try inner.rotary(x, positions: positions, table: table, headWidth: headWidth, inverse: inverse)
  }
  package func attentionBackward(
    _ dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSumExp: Tensor,
    shape: AttentionShape, dq: Tensor, dk: Tensor, dv: Tensor
  ) throws(ComputeError) {
    try inner.attentionBackward(
      dout, q: q, k: k, v: v, out: out, logSumExp: logSumExp, shape: shape, dq: dq, dk: dk, dv: dv)
  }
  package func swiGLU(gate: Tensor, up: Tensor, out: Tensor) throws(ComputeError) {
    try inner.swiGLU(gate: gate, up: up, out: out)
  }
  package func swiGLUBackward(
    _ dout: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor
  ) throws(ComputeError) {
    try inner.swiGLUBackward(dout, gate: gate, up: up, dgate: dgate, dup: dup)
  }
  package func dropout(_ x: Tensor, tokens: Tensor, key: DropoutKey, out: Tensor)
    throws(ComputeError)
  {
    try inner.dropout(x, tokens: tokens, key: key, out: out)
  }
  package func dropoutBackward(
    _ dy: Tensor, tokens: Tensor, key: DropoutKey, dx: Tensor
  ) throws(ComputeError) {
    try inner.dropoutBackward(dy, tokens: tokens, key: key, dx: dx)
  }
  package func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError)
    -> [Int]
  {
    try inner.route(logits, normalize: normalize, routing: routing)
  }
  package func routeBackward(
    dweights: Tensor, normalize: Bool, probabilityGradient: Tensor, routing: Routing,
    dlogits: Tensor
  ) throws(ComputeError) {
    try inner.routeBackward(
      dweights: dweights, normalize: normalize, probabilityGradient: probabilityGradient,
      routing: routing, dlogits: dlogits)
  }
  package func gatherRows(_ x: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    try inner.gatherRows(x, routing: routing, out: out)
  }
  package func gatherRowsBackward(_ dy: Tensor, routing: Routing, dx: Tensor) throws(ComputeError) {
    try inner.gatherRowsBackward(dy, routing: routing, dx: dx)
  }
  package func combineExperts(_ y: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    try inner.combineExperts(y, routing: routing, out: out)
  }
  package func combineExpertsBackward(
    _ dout: Tensor, y: Tensor, routing: Routing, dy: Tensor, dweights: Tensor
  ) throws(ComputeError) {
    try inner.combineExpertsBackward(dout, y: y, routing: routing, dy: dy, dweights: dweights)
  }
  package func selectRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    try inner.selectRows(x, rows: rows, out: out)
  }
  package func placeRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    try inner.placeRows(x, rows: rows, out: out)
  }
  package func argmax(_ x: Tensor, out: Tensor) throws(ComputeError) {
    try inner.argmax(x, out: out)
  }
  package func sumsOfSquares(_ x: Tensor, blockSize: Int) throws(ComputeError) -> [Double] {
    try inner.sumsOfSquares(x, blockSize: blockSize)
  }
  package func fill(_ out: Tensor, with random: RandomTensor, from first: Int) throws(ComputeError)
  {
    try inner.fill(out, with: random, from: first)
  }
  package func synchronize() throws(ComputeError) { try inner.synchronize() }
  package func isFinite(_ x: Tensor) throws(ComputeError) -> Bool { try inner.isFinite(x) }
  package func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError) {
    try inner.quantizeNF4(x, codes: codes, absmax: absmax)
  }
  package func quantizeScales(
    _ absmax: Tensor, offset: Float, codes: Tensor, nestedAbsmax: Tensor
  ) throws(ComputeError) {
    try inner.quantizeScales(absmax, offset: offset, codes: codes, nestedAbsmax: nestedAbsmax)
  }
  package func decode(_ matrix: BaseMatrix, out: Tensor) throws(ComputeError) {
    try inner.decode(matrix, out: out)
  }
}
