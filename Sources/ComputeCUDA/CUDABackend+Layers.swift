package import Compute

extension CUDABackend {
  package func add(_ x: Tensor, to out: Tensor) throws(ComputeError) {
    precondition(x.count == out.count, "add: \(x.count) to \(out.count)")
    try launch(
      "add_floats", items: (out.count + 3) / 4,
      [KernelArgument(x), KernelArgument(out), KernelArgument(Int64(out.count))])
  }

  package func scale(_ x: Tensor, by factor: Float) throws(ComputeError) {
    try launch(
      "scale_floats", items: (x.count + 3) / 4,
      [KernelArgument(x), KernelArgument(factor), KernelArgument(Int64(x.count))])
  }

  package func embedding(_ ids: Tensor, _ table: BaseMatrix, out: Tensor) throws(ComputeError) {
    precondition(out.rows == ids.count && out.columns == table.columns, "embedding: shapes differ")
    try launch(
      "embedding", LaunchGrid(ids.count),
      [
        KernelArgument(ids), source(of: table), KernelArgument(out),
        KernelArgument(Int32(table.columns)),
      ])
  }

  package func rmsNorm(
    _ x: Tensor, weight: Tensor, epsilon: Float, out: Tensor, reciprocalRMS: Tensor
  ) throws(ComputeError) {
    precondition(
      out.rows == x.rows && out.columns == x.columns && weight.count == x.columns
        && reciprocalRMS.count == x.rows, "rmsNorm: shapes differ")
    try launch(
      "rms_norm", LaunchGrid(x.rows),
      [
        KernelArgument(x), KernelArgument(weight), KernelArgument(out),
        KernelArgument(reciprocalRMS), KernelArgument(Int32(x.columns)), KernelArgument(epsilon),
      ])
  }

  package func rmsNormBackward(
    _ dy: Tensor, x: Tensor, weight: Tensor, reciprocalRMS: Tensor, dx: Tensor
  ) throws(ComputeError) {
    precondition(
      dy.rows == x.rows && dy.columns == x.columns && dx.rows == x.rows && dx.columns == x.columns
        && weight.count == x.columns && reciprocalRMS.count == x.rows,
      "rmsNormBackward: shapes differ")
    try launch(
      "rms_norm_backward", LaunchGrid(x.rows),
      [
        KernelArgument(dy), KernelArgument(x), KernelArgument(weight),
        KernelArgument(reciprocalRMS), KernelArgument(dx), KernelArgument(Int32(x.columns)),
      ])
  }

  package func rotary(
    _ x: Tensor, positions: Tensor, table: Tensor, headWidth: Int, inverse: Bool
  ) throws(ComputeError) {
    let half = headWidth / 2
    precondition(
      x.columns % headWidth == 0 && headWidth % 2 == 0 && positions.count == x.rows
        && table.columns == half && table.rows % 2 == 0, "rotary: shapes differ")
    try launch(
      "rotary", items: x.count / 2,
      [
        KernelArgument(x), KernelArgument(positions), KernelArgument(table),
        KernelArgument(Int32(x.rows)), KernelArgument(Int32(x.columns / headWidth)),
        KernelArgument(Int32(half)), KernelArgument(Int32(table.rows / 2)),
        KernelArgument(inverse ? Float(-1) : Float(1)),
      ])
  }

  package func swiGLU(gate: Tensor, up: Tensor, out: Tensor) throws(ComputeError) {
    precondition(gate.count == up.count && up.count == out.count, "swiGLU: shapes differ")
    try launch(
      "swiglu", items: (out.count + 3) / 4,
      [
        KernelArgument(gate), KernelArgument(up), KernelArgument(out),
        KernelArgument(Int64(out.count)),
      ])
  }

  package func swiGLUBackward(
    _ dout: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor
  ) throws(ComputeError) {
    precondition(
      dout.count == gate.count && gate.count == up.count && up.count == dgate.count
        && dgate.count == dup.count, "swiGLUBackward: shapes differ")
    try launch(
      "swiglu_backward", items: (dout.count + 3) / 4,
      [
        KernelArgument(dout), KernelArgument(gate), KernelArgument(up), KernelArgument(dgate),
        KernelArgument(dup), KernelArgument(Int64(dout.count)),
      ])
  }

  package func dropout(_ x: Tensor, tokens: Tensor, key: DropoutKey, out: Tensor)
    throws(ComputeError)
  {
    try applyMask(x, tokens, key, out, accumulate: false)
  }

  package func dropoutBackward(_ dy: Tensor, tokens: Tensor, key: DropoutKey, dx: Tensor)
    throws(ComputeError)
  {
    try applyMask(dy, tokens, key, dx, accumulate: true)
  }

  private func applyMask(
    _ x: Tensor, _ tokens: Tensor, _ key: DropoutKey, _ out: Tensor, accumulate: Bool
  ) throws(ComputeError) {
    let (T, C) = (x.rows, x.columns)
    precondition(out.rows == T && out.columns == C && tokens.rows == T && tokens.columns == 2)
    // unit(word) >= rate, in integers: the low 8 bits of a word do not count.
    let bound = UInt32((key.rate * 0x1p24).rounded(.up))
    try launch(
      "dropout", items: T * ((C + 3) / 4),
      [
        KernelArgument(x), KernelArgument(tokens), KernelArgument(out), KernelArgument(Int32(T)),
        KernelArgument(Int32(C)), KernelArgument(key.place), KernelArgument(key.generatorKey.x),
        KernelArgument(key.generatorKey.y), KernelArgument(bound),
        KernelArgument(1 / (1 - key.rate)), KernelArgument(Int32(accumulate ? 1 : 0)),
      ])
  }
}
