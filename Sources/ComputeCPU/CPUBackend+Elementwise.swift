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
    forEachRowChunk(T, columns: C) { rows in
      for t in rows {
        for block in 0..<(C + 3) / 4 {
          let words = unsafe key.words(sample: tokens[2 * t], position: tokens[2 * t + 1], block: block)
          for lane in 0..<min(4, C - block * 4) {
            let index = t * C + block * 4 + lane
            let kept = unsafe CounterGenerator.unit(words[lane]) >= key.rate ? x[index] * keep : 0
            unsafe result[index] = unsafe accumulate ? result[index] + kept : kept
          }
        }
      }
    }
  }
}
