package import Compute

extension CPUBackend {
  package func sumsOfSquares(_ x: Tensor, blockSize: Int) throws(ComputeError) -> [Double] {
    let count = x.count
    let x = unsafe x.floats
    var sums = [Double](repeating: 0, count: (count + blockSize - 1) / blockSize)
    unsafe sums.withUnsafeMutableBufferPointer { buffer in
      let sums = unsafe SendableRawPointer(
        UnsafeMutableRawPointer(buffer.baseAddress ?? .allocate(capacity: 1)))
      forEachChunk(count, of: blockSize) { range in
        var lanes = SIMD8<Double>.zero
        let part = unsafe x + range.lowerBound
        forEachLanes(range.count) { i, w in
          let values = unsafe SIMD8<Double>(part.lanes(i, w))
          lanes += values * values
        }
        var sum = 0.0
        for lane in 0..<8 { sum += lanes[lane] }
        unsafe sums.value.assumingMemoryBound(to: Double.self)[range.lowerBound / blockSize] = sum
      }
    }
    return sums
  }

  package func adamW(
    weights: Tensor, gradients: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    update: AdamWUpdate
  ) throws(ComputeError) {
    let count = weights.count
    precondition(
      gradients.count == count && firstMoment.count == count && secondMoment.count == count)
    let pointers = unsafe (
      weights.floats, gradients.floats, firstMoment.floats, secondMoment.floats
    )
    // Scalars in double precision, rounded once, as torch does.
    let decay = Float(1 - update.learningRate * update.weightDecay)
    let stepSize = Float(update.learningRate / update.biasCorrection1)
    let rootCorrection = Float(update.biasCorrection2.squareRoot())
    let (beta2, epsilon) = (Float(update.beta2), Float(update.epsilon))
    let (rest1, rest2) = (Float(1 - update.beta1), Float(1 - update.beta2))
    let gradientScale = Float(update.gradientScale)
    forEachChunk(count, of: 16384) { range in
      let weights = unsafe pointers.0 + range.lowerBound
      let gradients = unsafe pointers.1 + range.lowerBound
      let first = unsafe pointers.2 + range.lowerBound
      let second = unsafe pointers.3 + range.lowerBound
      forEachLanes(range.count) { i, w in
        let g = unsafe gradients.lanes(i, w) * gradientScale
        let m = unsafe first.lanes(i, w)
        let newFirst = m + (g - m) * rest1
        let newSecond = unsafe second.lanes(i, w) * beta2 + g * g * rest2
        let denominator = newSecond.squareRoot() / rootCorrection + epsilon
        unsafe weights.store(weights.lanes(i, w) * decay - newFirst / denominator * stepSize, i, w)
        unsafe first.store(newFirst, i, w)
        unsafe second.store(newSecond, i, w)
      }
    }
  }
}
