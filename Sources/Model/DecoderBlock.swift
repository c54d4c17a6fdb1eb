internal import Compute

// Shape letters: T tokens, C width, H query heads, G key/value heads, D head width, R LoRA rank.

/// What every layer of one pass over a pack shares.
struct PassContext {
  let configuration: ModelConfiguration
  let backend: any Backend
  /// Activations that the backward pass needs, and temporaries above them.
  let arena: Arena
  let positions: Tensor
  let places: Tensor
  let rotaryTable: Tensor
  let attention: AttentionShape
  /// Seed, step and rate of dropout; nil where nothing is dropped.
  let dropout: DropoutKey?
  /// Keys and values of earlier tokens, when a text is continued token by token.
  var cache: KeyValueCache?
  /// `[1, elements]`: where the adapters' gradients accumulate; set for the backward pass.
  var gradients: Tensor?

  /// The dropout of one input of a layer.
  func inputDropout(layer: Int, input: Int, tokens: Tensor) -> InputDropout? {
    guard var key = dropout else { return nil }
    key.layer = layer
    key.input = input
    return InputDropout(key: key, tokens: tokens)
  }

  /// `dropout(x)` in new memory of the arena, or `x` itself.
  func dropped(_ x: Tensor, _ dropout: InputDropout?) throws -> Tensor {
    guard let dropout else { return x }
    let out = arena.allocate(x.rows, x.columns, x.elementType)
    try backend.dropout(x, tokens: dropout.tokens, key: dropout.key, out: out)
    return out
  }
}

/// Numbers of a layer's inputs in dropout keys; w1 and w3 of expert e read `expert + 2 e`, its w2
/// the one after.
enum LayerInput {
  static let attention = 0
  static let output = 1
  static let router = 2
  static let expert = 3
}

/// The norm of every head's queries or keys, before they are rotated.
///
/// Source: Dehghani et al. 2023, arXiv:2302.05442, with RMSNorm as in Qwen3.
struct HeadNorm {
  let weight: Tensor  // [1, D]
  let input: Tensor  // [T, heads * D]
  let reciprocalRMS: Tensor  // [1, T * heads]

  init(weight: Tensor, _ input: Tensor, _ arena: Arena) {
    self.weight = weight
    self.input = input
    reciprocalRMS = arena.allocate(1, input.count / weight.count)
  }

  /// `[T, heads * D]` as `[T * heads, D]`.
  private func byHead(_ x: Tensor) -> Tensor {
    x.reshaped(rows: x.count / weight.count, columns: weight.count)
  }

  func forward(out: Tensor, epsilon: Float, backend: any Backend) throws {
    try backend.rmsNorm(
      byHead(input), weight: weight, epsilon: epsilon, out: byHead(out),
      reciprocalRMS: reciprocalRMS)
  }

  /// - Parameters:
  ///   - dx: the gradient of the normalized heads; becomes that of ``input``.
  ///   - context: of the forward pass.
  func backward(_ dx: Tensor, context: PassContext) throws {
    let mark = context.arena.mark
    defer { context.arena.release(to: mark) }
    let dy = context.arena.allocate(dx.rows, dx.columns)
    try context.backend.copy(dx, to: dy)
    try context.backend.zero(dx)
    try context.backend.rmsNormBackward(
      byHead(dy), x: byHead(input), weight: weight, reciprocalRMS: reciprocalRMS, dx: byHead(dx))
  }
}

/// One decoder layer: `x += attention(norm(x))`, then `x += feedForward(norm(x))`.
struct DecoderBlock {
  let index: Int
  /// See ``AttentionShape``.
  let slidingWindow: Int?
  let inputNorm: Tensor
  let query: LoRALinear
  let key: LoRALinear
  let value: LoRALinear
  let output: LoRALinear
  /// `[1, D]`: norms of every head's queries and keys; nil in models without them.
  let queryNorm: Tensor?
  let keyNorm: Tensor?
  let postAttentionNorm: Tensor
  let feedForward: FeedForward

  /// What the backward pass needs, one line a field with its shape.
  struct Activations {
    let input: Tensor  // [T, C], the residual stream before the layer
    let normed: Tensor  // [T, C]
    let reciprocalRMS: Tensor  // [1, T]
    let q: Tensor  // [T, H * D], normalized and rotated
    let k: Tensor  // [T, G * D], normalized and rotated
    let queryHeads: HeadNorm?
    let keyHeads: HeadNorm?
    let v: Tensor  // [T, G * D]
    let queryXA: Tensor?  // [T, R]
    let keyXA: Tensor?  // [T, R]
    let valueXA: Tensor?  // [T, R]
    let attended: Tensor  // [T, H * D]
    let logSumExp: Tensor  // [H, T]
    let outputXA: Tensor?  // [T, R]
    let middle: Tensor  // [T, C], the residual stream between the halves
    let middleNormed: Tensor  // [T, C]
    let middleReciprocalRMS: Tensor  // [1, T]
    let feedForward: FeedForward.Activations

    init(_ block: DecoderBlock, _ context: PassContext, tokenCount T: Int) {
      let arena = context.arena
      let shape = context.configuration
      func xa(_ linear: LoRALinear) -> Tensor? {
        linear.adapter.map { arena.allocate(T, $0.loraA.rows) }
      }
      input = arena.allocate(T, shape.hiddenSize)
      normed = arena.allocate(T, shape.hiddenSize)
      reciprocalRMS = arena.allocate(1, T)
      q = arena.allocate(T, shape.queryWidth)
      k = arena.allocate(T, shape.keyValueWidth)
      queryHeads = block.queryNorm.map {
        HeadNorm(weight: $0, arena.allocate(T, shape.queryWidth), arena)
      }
      keyHeads = block.keyNorm.map {
        HeadNorm(weight: $0, arena.allocate(T, shape.keyValueWidth), arena)
      }
      v = arena.allocate(T, shape.keyValueWidth)
      queryXA = xa(block.query)
      keyXA = xa(block.key)
      valueXA = xa(block.value)
      attended = arena.allocate(T, shape.queryWidth)
      logSumExp = arena.allocate(shape.headCount, T)
      outputXA = xa(block.output)
      middle = arena.allocate(T, shape.hiddenSize)
      middleNormed = arena.allocate(T, shape.hiddenSize)
      middleReciprocalRMS = arena.allocate(1, T)
      feedForward = block.feedForward.makeActivations(context, tokenCount: T)
    }
  }

  /// - Parameters:
  ///   - x: `[T, C]`, the residual stream; the layer's output is added to it.
  ///   - saved: overwritten.
  ///   - context: of this pass.
  func forward(_ x: Tensor, saved: Activations, context: PassContext) throws {
    let backend = context.backend
    let arena = context.arena
    let epsilon = context.configuration.normEpsilon
    let mark = arena.mark
    defer { arena.release(to: mark) }
    let branch = arena.allocate(x.rows, x.columns)

    try backend.copy(x, to: saved.input)
    try backend.rmsNorm(
      x, weight: inputNorm, epsilon: epsilon, out: saved.normed,
      reciprocalRMS: saved.reciprocalRMS)
    let dropped = try context.dropped(saved.normed, attentionDropout(context))
    try query.forward(
      saved.normed, dropped: dropped, out: saved.queryHeads?.input ?? saved.q, xa: saved.queryXA,
      backend: backend)
    try key.forward(
      saved.normed, dropped: dropped, out: saved.keyHeads?.input ?? saved.k, xa: saved.keyXA,
      backend: backend)
    try value.forward(
      saved.normed, dropped: dropped, out: saved.v, xa: saved.valueXA, backend: backend)
    try saved.queryHeads?.forward(out: saved.q, epsilon: epsilon, backend: backend)
    try saved.keyHeads?.forward(out: saved.k, epsilon: epsilon, backend: backend)
    try rotate(saved.q, saved.k, context, inverse: false)
    let (keys, values) =
      try context.cache?.append(
        layer: index, keys: saved.k, values: saved.v, backend: backend) ?? (saved.k, saved.v)
    try backend.attention(
      q: saved.q, k: keys, v: values, shape: attention(context), out: saved.attended,
      logSumExp: saved.logSumExp)
    try output.forward(
      saved.attended, dropped: context.dropped(saved.attended, outputDropout(context)),
      out: branch, xa: saved.outputXA, backend: backend)
    try backend.add(branch, to: x)

    try backend.copy(x, to: saved.middle)
    try backend.rmsNorm(
      x, weight: postAttentionNorm, epsilon: epsilon, out: saved.middleNormed,
      reciprocalRMS: saved.middleReciprocalRMS)
    try feedForward.forward(
      saved.middleNormed, residual: x, saved: saved.feedForward, context: context)
  }

  /// The same lines in reverse order.
  ///
  /// - Parameters:
  ///   - dx: `[T, C]`, the gradient of the residual stream after the layer; becomes the one before.
  ///   - saved: of the forward pass.
  ///   - routerGradient: of the router loss, see ``FeedForward``.
  ///   - context: of the forward pass.
  func backward(
    _ dx: Tensor, saved: Activations, routerGradient: Tensor?, context: PassContext
  ) throws {
    let backend = context.backend
    let arena = context.arena
    let mark = arena.mark
    defer { arena.release(to: mark) }
    let dnormed = arena.allocate(dx.rows, dx.columns)

    try feedForward.backward(
      dx, x: saved.middleNormed, dx: dnormed, saved: saved.feedForward,
      routerGradient: routerGradient, context: context)
    try backend.rmsNormBackward(
      dnormed, x: saved.middle, weight: postAttentionNorm,
      reciprocalRMS: saved.middleReciprocalRMS, dx: dx)

    let dattended = arena.allocate(saved.attended.rows, saved.attended.columns)
    let dq = arena.allocate(saved.q.rows, saved.q.columns)
    let dk = arena.allocate(saved.k.rows, saved.k.columns)
    let dv = arena.allocate(saved.v.rows, saved.v.columns)
    let outputDropout = outputDropout(context)
    try output.backward(
      dx, dropped: context.dropped(saved.attended, outputDropout), xa: saved.outputXA,
      dx: dattended, accumulate: false, dropout: outputDropout, context: context)
    try backend.attentionBackward(
      dattended, q: saved.q, k: saved.k, v: saved.v, out: saved.attended,
      logSumExp: saved.logSumExp, shape: attention(context), dq: dq, dk: dk, dv: dv)
    try rotate(dq, dk, context, inverse: true)
    try saved.queryHeads?.backward(dq, context: context)
    try saved.keyHeads?.backward(dk, context: context)
    let dropout = attentionDropout(context)
    let dropped = try context.dropped(saved.normed, dropout)
    try value.backward(
      dv, dropped: dropped, xa: saved.valueXA, dx: dnormed, accumulate: false, dropout: dropout,
      context: context)
    try key.backward(
      dk, dropped: dropped, xa: saved.keyXA, dx: dnormed, accumulate: true, dropout: dropout,
      context: context)
    try query.backward(
      dq, dropped: dropped, xa: saved.queryXA, dx: dnormed, accumulate: true, dropout: dropout,
      context: context)
    try backend.rmsNormBackward(
      dnormed, x: saved.input, weight: inputNorm, reciprocalRMS: saved.reciprocalRMS, dx: dx)
  }

  private func rotate(_ q: Tensor, _ k: Tensor, _ context: PassContext, inverse: Bool) throws {
    for x in [q, k] {
      try context.backend.rotary(
        x, positions: context.positions, table: context.rotaryTable,
        headWidth: context.configuration.headWidth, inverse: inverse)
    }
  }

  private func attention(_ context: PassContext) -> AttentionShape {
    var shape = context.attention
    shape.slidingWindow = slidingWindow
    return shape
  }

  private func attentionDropout(_ context: PassContext) -> InputDropout? {
    guard query.adapter != nil || key.adapter != nil || value.adapter != nil else { return nil }
    return context.inputDropout(
      layer: index, input: LayerInput.attention, tokens: context.places)
  }

  private func outputDropout(_ context: PassContext) -> InputDropout? {
    guard output.adapter != nil else { return nil }
    return context.inputDropout(layer: index, input: LayerInput.output, tokens: context.places)
  }
}
