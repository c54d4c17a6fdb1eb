internal import Compute

// Shape letters: T tokens, C width, F inner width, E experts, K experts of a token, P = T * K rows
// sorted by expert (P = T and one "expert" in a dense layer), R LoRA rank.

/// SwiGLU: `w2(silu(w1 x) * w3 x)`; one for a dense layer, E for a mixture of experts.
struct Expert {
  let w1: LoRALinear
  let w3: LoRALinear
  let w2: LoRALinear
}

/// The second half of a decoder layer: one SwiGLU block, or a router and its experts.
///
/// Source: Shazeer 2020, arXiv:2002.05202 (SwiGLU); Jiang et al. 2024, arXiv:2401.04088 (Mixtral);
/// Yang et al. 2025, arXiv:2505.09388 (Qwen3).
struct FeedForward {
  let layer: Int
  /// Nil in a dense layer.
  let router: LoRALinear?
  let experts: [Expert]

  /// What the backward pass needs, one line a field with its shape.
  struct Activations {
    let routing: Routing?
    let routerXA: Tensor?  // [T, R]
    let input: Tensor?  // [P, C], rows by expert; nil in a dense layer, which reads its input
    let places: Tensor?  // [P, 2] int32, for dropout
    let gate: Tensor  // [P, F], w1 x
    let up: Tensor  // [P, F], w3 x
    let out: Tensor?  // [P, C], before the weights; nil in a dense layer
    let w1XA: Tensor?  // [P, R]
    let w3XA: Tensor?  // [P, R]
    let w2XA: Tensor?  // [P, R]
    let counts: Counts
  }

  /// Rows of each expert; known once the router has chosen.
  final class Counts {
    var values: [Int] = []
  }

  func makeActivations(_ context: PassContext, tokenCount T: Int) -> Activations {
    let arena = context.arena
    let shape = context.configuration
    let C = shape.hiddenSize
    let F = experts[0].w1.base.rows
    let K = shape.expertsPerToken
    let P = router == nil ? T : T * K
    func xa(_ linear: LoRALinear?, _ rows: Int) -> Tensor? {
      linear?.adapter.map { arena.allocate(rows, $0.loraA.rows) }
    }
    let routing = router.map { _ in
      Routing(
        probabilities: arena.allocate(T, shape.expertCount),
        experts: arena.allocate(T, K, .int32), weights: arena.allocate(T, K),
        tokenOfRow: arena.allocate(1, P, .int32), rowOfToken: arena.allocate(T, K, .int32),
        probabilitySums: arena.allocate(1, shape.expertCount))
    }
    return Activations(
      routing: routing,
      routerXA: xa(router, T),
      input: router.map { _ in arena.allocate(P, C) },
      places: router.flatMap { _ in context.dropout.map { _ in arena.allocate(P, 2, .int32) } },
      gate: arena.allocate(P, F),
      up: arena.allocate(P, F),
      out: router.map { _ in arena.allocate(P, C) },
      w1XA: xa(experts[0].w1, P),
      w3XA: xa(experts[0].w3, P),
      w2XA: xa(experts[0].w2, P),
      counts: Counts())
  }

  /// - Parameters:
  ///   - x: `[T, C]`, normalized.
  ///   - residual: `[T, C]`, the residual stream; the output is added to it.
  ///   - saved: overwritten.
  ///   - context: of this pass.
  func forward(_ x: Tensor, residual: Tensor, saved: Activations, context: PassContext) throws {
    let backend = context.backend
    let arena = context.arena
    let mark = arena.mark
    defer { arena.release(to: mark) }

    guard let router, let routing = saved.routing, let input = saved.input, let out = saved.out
    else {
      let out = arena.allocate(x.rows, x.columns)
      saved.counts.values = [x.rows]
      try runExperts(x, out: out, saved: saved, places: context.places, context: context)
      try backend.add(out, to: residual)
      return
    }
    let logits = arena.allocate(x.rows, router.base.rows)
    try router.forward(
      x, dropped: context.dropped(x, routerDropout(context)), out: logits, xa: saved.routerXA,
      backend: backend)
    saved.counts.values = try backend.route(
      logits, normalize: context.configuration.normalizesExpertWeights, routing: routing)
    try backend.gatherRows(x, routing: routing, out: input)
    if let places = saved.places {
      try backend.selectRows(context.places, rows: routing.tokenOfRow, out: places)
    }
    try runExperts(
      input, out: out, saved: saved, places: saved.places, context: context)
    try backend.combineExperts(out, routing: routing, out: residual)
  }

  /// The same lines in reverse order.
  ///
  /// - Parameters:
  ///   - dout: `[T, C]`, the gradient of the residual stream; read only.
  ///   - x: `[T, C]` of the forward pass.
  ///   - dx: `[T, C]`; overwritten.
  ///   - saved: of the forward pass; `gate`, `up` and `out` are used up.
  ///   - routerGradient: `[1, E]`, what the router loss adds to the gradient of every token's
  ///     probabilities; nil in a dense layer.
  ///   - context: of the forward pass.
  func backward(
    _ dout: Tensor, x: Tensor, dx: Tensor, saved: Activations, routerGradient: Tensor?,
    context: PassContext
  ) throws {
    let backend = context.backend
    let arena = context.arena
    let mark = arena.mark
    defer { arena.release(to: mark) }

    guard let router, let routing = saved.routing, let input = saved.input, let out = saved.out,
      let routerGradient
    else {
      try runExpertsBackward(
        dout, x: x, dx: dx, saved: saved, places: context.places, context: context)
      return
    }
    let dweights = arena.allocate(x.rows, routing.experts.columns)
    let dinput = arena.allocate(input.rows, input.columns)
    let dlogits = arena.allocate(x.rows, router.base.rows)
    try backend.combineExpertsBackward(
      dout, y: out, routing: routing, dy: out, dweights: dweights)
    try runExpertsBackward(
      out, x: input, dx: dinput, saved: saved, places: saved.places,
      context: context)
    try backend.gatherRowsBackward(dinput, routing: routing, dx: dx)
    try backend.routeBackward(
      dweights: dweights, normalize: context.configuration.normalizesExpertWeights,
      probabilityGradient: routerGradient, routing: routing, dlogits: dlogits)
    let dropout = routerDropout(context)
    try router.backward(
      dlogits, dropped: context.dropped(x, dropout), xa: saved.routerXA, dx: dx, accumulate: true,
      dropout: dropout, context: context)
  }

  // MARK: Experts

  /// Each expert over its rows of `x`.
  private func runExperts(
    _ x: Tensor, out: Tensor, saved: Activations, places: Tensor?, context: PassContext
  ) throws {
    let backend = context.backend
    let arena = context.arena
    let inner = arena.allocate(saved.gate.rows, saved.gate.columns)
    try forEachExpert(saved) { expert, rows, number in
      let mark = arena.mark
      defer { arena.release(to: mark) }
      let x = x.rows(rows)
      let inner = inner.rows(rows)
      let inputDropout = expertDropout(context, places, rows, number, input: 0, expert)
      let innerDropout = expertDropout(context, places, rows, number, input: 1, expert)
      let dropped = try context.dropped(x, inputDropout)
      try expert.w1.forward(
        x, dropped: dropped, out: saved.gate.rows(rows), xa: saved.w1XA?.rows(rows),
        backend: backend)
      try expert.w3.forward(
        x, dropped: dropped, out: saved.up.rows(rows), xa: saved.w3XA?.rows(rows),
        backend: backend)
      try backend.swiGLU(gate: saved.gate.rows(rows), up: saved.up.rows(rows), out: inner)
      try expert.w2.forward(
        inner, dropped: context.dropped(inner, innerDropout), out: out.rows(rows),
        xa: saved.w2XA?.rows(rows), backend: backend)
    }
  }

  private func runExpertsBackward(
    _ dout: Tensor, x: Tensor, dx: Tensor, saved: Activations, places: Tensor?,
    context: PassContext
  ) throws {
    let backend = context.backend
    let arena = context.arena
    try forEachExpert(saved) { expert, rows, number in
      let mark = arena.mark
      defer { arena.release(to: mark) }
      let (x, dx, dout) = (x.rows(rows), dx.rows(rows), dout.rows(rows))
      let (gate, up) = (saved.gate.rows(rows), saved.up.rows(rows))
      // The product of gate and up is cheap to make again.
      let inner = arena.allocate(gate.rows, gate.columns)
      let dinner = arena.allocate(gate.rows, gate.columns)
      let inputDropout = expertDropout(context, places, rows, number, input: 0, expert)
      let innerDropout = expertDropout(context, places, rows, number, input: 1, expert)
      try backend.swiGLU(gate: gate, up: up, out: inner)
      try expert.w2.backward(
        dout, dropped: context.dropped(inner, innerDropout), xa: saved.w2XA?.rows(rows),
        dx: dinner, accumulate: false, dropout: innerDropout, context: context)
      try backend.swiGLUBackward(dinner, gate: gate, up: up, dgate: gate, dup: up)
      let dropped = try context.dropped(x, inputDropout)
      try expert.w3.backward(
        up, dropped: dropped, xa: saved.w3XA?.rows(rows), dx: dx, accumulate: false,
        dropout: inputDropout, context: context)
      try expert.w1.backward(
        gate, dropped: dropped, xa: saved.w1XA?.rows(rows), dx: dx, accumulate: true,
        dropout: inputDropout, context: context)
    }
  }

  /// Calls `body` with every expert that has rows.
  private func forEachExpert(
    _ saved: Activations,
    _ body: (_ expert: Expert, _ rows: Range<Int>, _ number: Int) throws -> Void
  ) throws {
    var first = 0
    for (number, count) in saved.counts.values.enumerated() {
      if count > 0 { try body(experts[number], first..<first + count, number) }
      first += count
    }
  }

  private func routerDropout(_ context: PassContext) -> InputDropout? {
    guard router?.adapter != nil else { return nil }
    return context.inputDropout(layer: layer, input: LayerInput.router, tokens: context.places)
  }

  /// Dropout of an expert's input (0) or of its inner product (1).
  private func expertDropout(
    _ context: PassContext, _ places: Tensor?, _ rows: Range<Int>, _ number: Int, input: Int,
    _ expert: Expert
  ) -> InputDropout? {
    let hasAdapter =
      input == 0
      ? expert.w1.adapter != nil || expert.w3.adapter != nil : expert.w2.adapter != nil
    guard hasAdapter, context.dropout != nil, let places else { return nil }
    return context.inputDropout(
      layer: layer, input: LayerInput.expert + 2 * number + input,
      tokens: places.rows(rows))
  }
}
