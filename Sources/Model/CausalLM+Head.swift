package import Compute

// Shape letters: T tokens, C width, V vocabulary, n rows that predict a target.

/// The loss of one pack.
package struct PackLoss: Sendable, Equatable {
  /// Negative log-likelihood in nats of each target token, in order.
  package var tokenLosses: [Float]

  /// Their sum in double precision, in order.
  package var lossSum: Double { tokenLosses.reduce(0.0) { $0 + Double($1) } }
}

extension CausalLM {
  /// Rows of a chunk of logits; the whole `[n, V]` never exists for large vocabularies.
  private var chunkRows: Int { max(16, logitsChunkElementCount / configuration.vocabularySize) }

  /// Final norm, head and cross-entropy over the rows that predict a target.
  ///
  /// - Parameters:
  ///   - pass: of the forward pass.
  ///   - gradientScale: factor of the loss in the step's loss, one over its target tokens; the
  ///     gradient of the residual stream is then left in the pass. Nil computes the loss alone.
  ///   - gradients: `[1, elements]`, the adapters' gradients; the head's are accumulated.
  /// - Returns: the loss of every target token.
  /// - Throws: when the device fails.
  package func loss(_ pass: Pass, gradientScale: Float?, gradients: Tensor? = nil) throws
    -> PackLoss
  {
    let C = configuration.hiddenSize
    let n = pass.pack.targets.count
    let mark = arena.mark
    defer { arena.release(to: mark) }
    let losses = arena.allocate(1, n)
    let weights = try headWeights(isTraining: gradientScale != nil)
    let head = LoRALinear(
      base: weights.matrix, bias: nil,
      adapter: adapters?.layout.head.flatMap { adapters?.adapter($0) })
    var context = pass.context
    context.gradients = gradients

    let x = arena.allocate(n, C)
    let normed = arena.allocate(n, C)
    let reciprocalRMS = arena.allocate(1, n)
    let dnormed: Tensor? = gradientScale == nil ? nil : arena.allocate(n, C)
    try backend.selectRows(pass.x, rows: pass.pack.targetRows, out: x)
    try backend.rmsNorm(
      x, weight: weights.norm, epsilon: configuration.normEpsilon, out: normed,
      reciprocalRMS: reciprocalRMS)
    for first in stride(from: 0, to: n, by: chunkRows) {
      let rows = first..<min(n, first + chunkRows)
      let mark = arena.mark
      defer { arena.release(to: mark) }
      let logits = arena.allocate(rows.count, configuration.vocabularySize)
      let xa = head.adapter.map { arena.allocate(rows.count, $0.loraA.rows) }
      let dropout = try headDropout(pass, head, rows)
      let dropped = try pass.context.dropped(normed.rows(rows), dropout)
      try head.forward(normed.rows(rows), dropped: dropped, out: logits, xa: xa, backend: backend)
      try backend.crossEntropy(
        logits: logits, targets: pass.pack.targets.elements(rows), losses: losses.elements(rows),
        gradientScale: gradientScale)
      guard let dnormed else { continue }
      try head.backward(
        logits, dropped: dropped, xa: xa, dx: dnormed.rows(rows), accumulate: false,
        dropout: dropout, context: context)
    }
    if let dnormed {
      guard let dx = pass.dx else {
        preconditionFailure("a pass that keeps nothing has no gradient")
      }
      let dselected = arena.allocate(n, C)
      try backend.zero(dselected)
      try backend.rmsNormBackward(
        dnormed, x: x, weight: weights.norm, reciprocalRMS: reciprocalRMS, dx: dselected)
      try backend.zero(dx)
      try backend.placeRows(dselected, rows: pass.pack.targetRows, out: dx)
    }
    pass.hasLoss = dnormed != nil
    return PackLoss(tokenLosses: try backend.download(losses))
  }

  private func headDropout(_ pass: Pass, _ head: LoRALinear, _ rows: Range<Int>) throws
    -> InputDropout?
  {
    guard head.adapter != nil, pass.context.dropout != nil else { return nil }
    let places = arena.allocate(rows.count, 2, .int32)
    try backend.selectRows(
      pass.context.places, rows: pass.pack.targetRows.elements(rows), out: places)
    return pass.context.inputDropout(layer: configuration.layerCount, input: 0, tokens: places)
  }

  /// Logits of chosen rows, `[rows.count, V]`, in memory that the next pass gives back.
  ///
  /// - Parameters:
  ///   - pass: of the forward pass.
  ///   - rows: of the pack.
  /// - Returns: the logits.
  /// - Throws: when the device fails.
  package func logits(_ pass: Pass, rows: [Int32]) throws -> Tensor {
    let n = rows.count
    let weights = try headWeights(isTraining: false)
    let head = LoRALinear(
      base: weights.matrix, bias: nil,
      adapter: adapters?.layout.head.flatMap { adapters?.adapter($0) })
    let logits = arena.allocate(n, configuration.vocabularySize)
    let index = arena.allocate(1, n, .int32)
    let x = arena.allocate(n, configuration.hiddenSize)
    let normed = arena.allocate(n, configuration.hiddenSize)
    let reciprocalRMS = arena.allocate(1, n)
    let xa = head.adapter.map { arena.allocate(n, $0.loraA.rows) }
    try backend.upload(rows, to: index)
    try backend.selectRows(pass.x, rows: index, out: x)
    try backend.rmsNorm(
      x, weight: weights.norm, epsilon: configuration.normEpsilon, out: normed,
      reciprocalRMS: reciprocalRMS)
    try head.forward(normed, dropped: normed, out: logits, xa: xa, backend: backend)
    return logits
  }
}
