import Compute
import ComputeCPU
import Synchronization

/// A CPU backend with a mistake built in, to see that `test` finds it.
final class FaultyBackend: Backend {
  enum Fault: Sendable {
    /// Adding tensors leaves the last element out.
    case addIsShort
    /// Samples of a pack see each other.
    case attentionLeaks
    /// Norms are wrong in the fourth digit.
    case normIsOff
    /// What is computed again for the backward pass differs in the last bits.
    case recomputationDiffers
    /// The optimizer's n-th call takes another learning rate, as if its state were lost.
    case optimizerForgets(call: Int)
    /// The n-th call of attention fails.
    case attentionFails(call: Int)
  }

  private let inner: CPUBackend
  private let fault: Fault
  private let calls = Atomic(0)
  private let isBackward = Atomic(false)

  init(_ inner: CPUBackend, _ fault: Fault) {
    self.inner = inner
    self.fault = fault
  }

  var activationType: ElementType { inner.activationType }
  var summary: String { inner.summary }

  // MARK: With mistakes

  func add(_ x: Tensor, to out: Tensor) throws(ComputeError) {
    guard case .addIsShort = fault, out.count > 1 else { return try inner.add(x, to: out) }
    let range = 0..<out.count - 1
    try inner.add(x.elements(range), to: out.elements(range))
  }

  func embedding(_ ids: Tensor, _ table: BaseMatrix, out: Tensor) throws(ComputeError) {
    isBackward.store(false, ordering: .relaxed)
    try inner.embedding(ids, table, out: out)
  }

  func rmsNorm(_ x: Tensor, weight: Tensor, epsilon: Float, out: Tensor, reciprocalRMS: Tensor)
    throws(ComputeError)
  {
    try inner.rmsNorm(x, weight: weight, epsilon: epsilon, out: out, reciprocalRMS: reciprocalRMS)
    if case .normIsOff = fault { try inner.scale(out, by: 1.0003) }
  }

  func attention(
    q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, out: Tensor, logSumExp: Tensor
  ) throws(ComputeError) {
    var shape = shape
    if case .attentionLeaks = fault, let last = shape.segments.last {
      let all = 0..<last.queries.upperBound
      shape.segments = [AttentionShape.Segment(queries: all, keys: all)]
    }
    try inner.attention(q: q, k: k, v: v, shape: shape, out: out, logSumExp: logSumExp)
    if case .recomputationDiffers = fault, isBackward.load(ordering: .relaxed) {
      try inner.scale(out, by: 1.000001)
    }
    if case .attentionFails(let call) = fault, next() == call {
      throw ComputeError("the device is gone")
    }
  }

  func crossEntropy(logits: Tensor, targets: Tensor, losses: Tensor, gradientScale: Float?)
    throws(ComputeError)
  {
    isBackward.store(gradientScale != nil, ordering: .relaxed)
    try inner.crossEntropy(
      logits: logits, targets: targets, losses: losses, gradientScale: gradientScale)
  }

  func adamW(
    weights: Tensor, gradients: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    update: AdamWUpdate
  ) throws(ComputeError) {
    var update = update
    if case .optimizerForgets(let call) = fault, next() == call { update.learningRate *= 1.001 }
    try inner.adamW(
      weights: weights, gradients: gradients, firstMoment: firstMoment,
      secondMoment: secondMoment, update: update)
  }

  private func next() -> Int { calls.wrappingAdd(1, ordering: .relaxed).newValue }

  // MARK: As they are

  func makeStorage(byteCount: Int) throws(ComputeError) -> Storage {
    try inner.makeStorage(byteCount: byteCount)
  }
  func upload(_ values: [Float], to tensor: Tensor) throws(ComputeError) {
    try inner.upload(values, to: tensor)
  }
  func upload(_ values: [Int32], to tensor: Tensor) throws(ComputeError) {
    try inner.upload(values, to: tensor)
  }
  func download(_ tensor: Tensor) throws(ComputeError) -> [Float] { try inner.download(tensor) }
  func downloadInt32(_ tensor: Tensor) throws(ComputeError) -> [Int32] {
    try inner.downloadInt32(tensor)
  }
  func zero(_ tensor: Tensor) throws(ComputeError) { try inner.zero(tensor) }
  func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {
    try inner.copy(source, to: destination)
  }
  func scale(_ x: Tensor, by factor: Float) throws(ComputeError) { try inner.scale(x, by: factor) }
  func linear(_ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, out: Tensor) throws(ComputeError) {
    try inner.linear(x, weight, bias: bias, out: out)
  }
  func linearBackward(
    _ dy: Tensor, _ weight: BaseMatrix, dx: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try inner.linearBackward(dy, weight, dx: dx, accumulate: accumulate)
  }
  func matmulTransposed(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try inner.matmulTransposed(x, matrix, scaling: scaling, out: out, accumulate: accumulate)
  }
  func matmul(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    try inner.matmul(x, matrix, scaling: scaling, out: out, accumulate: accumulate)
  }
  func accumulateOuterProduct(
    _ dy: Tensor, _ x: Tensor, scaling: Float, gradient: Tensor
  ) throws(ComputeError) {
    try inner.accumulateOuterProduct(dy, x, scaling: scaling, gradient: gradient)
  }
  func rmsNormBackward(
    _ dy: Tensor, x: Tensor, weight: Tensor, reciprocalRMS: Tensor, dx: Tensor
  ) throws(ComputeError) {
    try inner.rmsNormBackward(dy, x: x, weight: weight, reciprocalRMS: reciprocalRMS, dx: dx)
  }
  func rotary(
    _ x: Tensor, positions: Tensor, table: Tensor, headWidth: Int, inverse: Bool
  ) throws(ComputeError) {
    try inner.rotary(x, positions: positions, table: table, headWidth: headWidth, inverse: inverse)
  }
  func attentionBackward(
    _ dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSumExp: Tensor,
    shape: AttentionShape, dq: Tensor, dk: Tensor, dv: Tensor
  ) throws(ComputeError) {
    try inner.attentionBackward(
      dout, q: q, k: k, v: v, out: out, logSumExp: logSumExp, shape: shape, dq: dq, dk: dk, dv: dv)
  }
  func swiGLU(gate: Tensor, up: Tensor, out: Tensor) throws(ComputeError) {
    try inner.swiGLU(gate: gate, up: up, out: out)
  }
  func swiGLUBackward(
    _ dout: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor
  ) throws(ComputeError) {
    try inner.swiGLUBackward(dout, gate: gate, up: up, dgate: dgate, dup: dup)
  }
  func dropout(_ x: Tensor, tokens: Tensor, key: DropoutKey, out: Tensor) throws(ComputeError) {
    try inner.dropout(x, tokens: tokens, key: key, out: out)
  }
  func dropoutBackward(
    _ dy: Tensor, tokens: Tensor, key: DropoutKey, dx: Tensor
  ) throws(ComputeError) {
    try inner.dropoutBackward(dy, tokens: tokens, key: key, dx: dx)
  }
  func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError) -> [Int] {
    try inner.route(logits, normalize: normalize, routing: routing)
  }
  func routeBackward(
    dweights: Tensor, normalize: Bool, probabilityGradient: Tensor, routing: Routing,
    dlogits: Tensor
  ) throws(ComputeError) {
    try inner.routeBackward(
      dweights: dweights, normalize: normalize, probabilityGradient: probabilityGradient,
      routing: routing, dlogits: dlogits)
  }
  func gatherRows(_ x: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    try inner.gatherRows(x, routing: routing, out: out)
  }
  func gatherRowsBackward(_ dy: Tensor, routing: Routing, dx: Tensor) throws(ComputeError) {
    try inner.gatherRowsBackward(dy, routing: routing, dx: dx)
  }
  func combineExperts(_ y: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    try inner.combineExperts(y, routing: routing, out: out)
  }
  func combineExpertsBackward(
    _ dout: Tensor, y: Tensor, routing: Routing, dy: Tensor, dweights: Tensor
  ) throws(ComputeError) {
    try inner.combineExpertsBackward(dout, y: y, routing: routing, dy: dy, dweights: dweights)
  }
  func selectRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    try inner.selectRows(x, rows: rows, out: out)
  }
  func placeRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    try inner.placeRows(x, rows: rows, out: out)
  }
  func argmax(_ x: Tensor, out: Tensor) throws(ComputeError) { try inner.argmax(x, out: out) }
  func sumsOfSquares(_ x: Tensor, blockSize: Int) throws(ComputeError) -> [Double] {
    try inner.sumsOfSquares(x, blockSize: blockSize)
  }
  func fill(_ out: Tensor, with random: RandomTensor, from first: Int) throws(ComputeError) {
    try inner.fill(out, with: random, from: first)
  }
  func synchronize() throws(ComputeError) { try inner.synchronize() }
  func isFinite(_ x: Tensor) throws(ComputeError) -> Bool { try inner.isFinite(x) }
  func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError) {
    try inner.quantizeNF4(x, codes: codes, absmax: absmax)
  }
  func quantizeScales(
    _ absmax: Tensor, offset: Float, codes: Tensor, nestedAbsmax: Tensor
  ) throws(ComputeError) {
    try inner.quantizeScales(absmax, offset: offset, codes: codes, nestedAbsmax: nestedAbsmax)
  }
  func decode(_ matrix: BaseMatrix, out: Tensor) throws(ComputeError) {
    try inner.decode(matrix, out: out)
  }
}
