import Compute
import ComputeCPU
import Synchronization
import TestSupport

/// A CPU backend with a mistake built in, to see that `test` finds it.
final class FaultyBackend: ForwardingBackend {
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

  let inner: any Backend
  private let fault: Fault
  private let calls = Atomic(0)
  private let isBackward = Atomic(false)

  init(_ inner: CPUBackend, _ fault: Fault) {
    self.inner = inner
    self.fault = fault
  }

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
}
