package import Compute

extension CPUBackend {
  package func add(_ x: Tensor, to out: Tensor) throws(ComputeError) {
    precondition(x.count == out.count, "add: \(x.count) to \(out.count)")
    let x = unsafe x.floats
    let sum = unsafe out.floats
    forEachChunk(out.count, of: 16384) { range in
      let x = unsafe x + range.lowerBound
      let sum = unsafe sum + range.lowerBound
      forEachLanes(range.count) { i, w in
        unsafe sum.store(sum.lanes(i, w) + x.lanes(i, w), i, w)
      }
    }
  }

  package func scale(_ x: Tensor, by factor: Float) throws(ComputeError) {
    let values = unsafe x.floats
    forEachChunk(x.count, of: 16384) { range in
      let x = unsafe values + range.lowerBound
      forEachLanes(range.count) { i, w in unsafe x.store(x.lanes(i, w) * factor, i, w) }
    }
  }

  package func swiGLU(gate: Tensor, up: Tensor, out: Tensor) throws(ComputeError) {
    precondition(gate.count == up.count && up.count == out.count, "swiGLU: shapes differ")
    let gate = unsafe gate.floats
    let up = unsafe up.floats
    let result = unsafe out.floats
    forEachChunk(out.count, of: 8192) { range in
      let gate = unsafe gate + range.lowerBound
      let up = unsafe up + range.lowerBound
      let out = unsafe result + range.lowerBound
      forEachLanes(range.count) { i, w in
        let g = unsafe gate.lanes(i, w)
        unsafe out.store(g / (1 + exponential(-g)) * up.lanes(i, w), i, w)
      }
    }
  }

  package func swiGLUBackward(
    _ dout: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor
  ) throws(ComputeError) {
    precondition(
      dout.count == gate.count && gate.count == up.count && up.count == dgate.count
        && dgate.count == dup.count, "swiGLUBackward: shapes differ")
    let pointers = unsafe (dout.floats, gate.floats, up.floats, dgate.floats, dup.floats)
    forEachChunk(dout.count, of: 8192) { range in
      let dout = unsafe pointers.0 + range.lowerBound
      let gate = unsafe pointers.1 + range.lowerBound
      let up = unsafe pointers.2 + range.lowerBound
      let dgate = unsafe pointers.3 + range.lowerBound
      let dup = unsafe pointers.4 + range.lowerBound
      forEachLanes(range.count) { i, w in
        let g = unsafe gate.lanes(i, w)
        let u = unsafe up.lanes(i, w)
        let d = unsafe dout.lanes(i, w)
        let sigmoid = 1 / (1 + exponential(-g))
        unsafe dup.store(d * g * sigmoid, i, w)
        // d silu(g) / dg = sigmoid (1 + g (1 - sigmoid)).
        unsafe dgate.store(d * u * sigmoid * (1 + g * (1 - sigmoid)), i, w)
      }
    }
  }

  package func dropout(_ x: Tensor, tokens: Tensor, key: DropoutKey, out: Tensor)
    throws(ComputeError)
  {
    applyMask(x, tokens, key, out, accumulate: false)
  }

  package func dropoutBackward(_ dy: Tensor, tokens: Tensor, key: DropoutKey, dx: Tensor)
    throws(ComputeError)
  {
    applyMask(dy, tokens, key, dx, accumulate: true)
  }

  private func applyMask(
    _ x: Tensor, _ tokens: Tensor, _ key: DropoutKey, _ out: Tensor, accumulate: Bool
  ) {
    let T = x.rows
    let C = x.columns
    precondition(out.rows == T && out.columns == C && tokens.rows == T && tokens.columns == 2)
    let x = unsafe x.floats
    let result = unsafe out.floats
    let tokens = unsafe tokens.int32s
    let keep = 1 / (1 - key.rate)
    // unit(word) >= rate, in integers: the low 8 bits of a word do not count.
    let bound = UInt32((key.rate * 0x1p24).rounded(.up))
    forEachRowChunk(T, columns: C) { rows in
      for t in rows {
        let (sample, position) = unsafe (tokens[2 * t], tokens[2 * t + 1])
        // 32 channels at a time: eight blocks of four words.
        for first in stride(from: 0, to: C, by: 32) {
          let words = key.wordsOfEightBlocks(sample: sample, position: position, block: first / 4)
          let from = unsafe x + (t * C + first)
          let to = unsafe result + (t * C + first)
          for block in 0..<min(8, (C - first + 3) / 4) {
            let four = SIMD4(words.0[block], words.1[block], words.2[block], words.3[block])
            let isKept = (four &>> 8) .>= bound
            let width = min(4, C - first - 4 * block)
            let values = unsafe SIMD4<Float>.load(from + 4 * block, width)
            let kept = SIMD4<Float>.zero.replacing(with: values * keep, where: isKept)
            let sum = unsafe accumulate ? SIMD4<Float>.load(to + 4 * block, width) + kept : kept
            unsafe sum.store(to + 4 * block, width)
          }
        }
      }
    }
  }
}

extension SIMD4<Float> {
  @inline(__always) fileprivate static func load(_ x: UnsafeMutablePointer<Float>, _ width: Int)
    -> Self
  {
    if width == 4 { return unsafe UnsafeRawPointer(x).loadUnaligned(as: Self.self) }
    var lanes = Self.zero
    for lane in 0..<width { lanes[lane] = unsafe x[lane] }
    return lanes
  }

  @inline(__always) fileprivate func store(_ x: UnsafeMutablePointer<Float>, _ width: Int) {
    if width == 4 {
      unsafe UnsafeMutableRawPointer(x).storeBytes(of: self, as: Self.self)
    } else {
      for lane in 0..<width { unsafe x[lane] = self[lane] }
    }
  }
}
