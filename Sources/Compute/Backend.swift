/// What a compute device can do: about thirty coarse operations on tensors.
///
/// Rules that hold for every operation:
/// - *Parameter gradients accumulate, activation gradients overwrite, the gradient of the residual
///   stream accumulates.* Each operation says which of these it writes.
/// - Operations run in the order they are called. Outputs never overlap inputs unless it is said.
/// - A result depends on shapes and values alone: never on the thread count, on time or on what
///   ran before. Sums over tokens run over fixed chunks, added in order.
///
/// Shape letters: T tokens of a pack, C width of an input, N width of an output, R LoRA rank,
/// H query heads, G key/value heads, D head width, E experts, K experts a token is sent to,
/// P = T * K rows of tokens sorted by expert, V vocabulary.
package protocol Backend: AnyObject, Sendable {
  /// Type of activations and their gradients on this device.
  var activationType: ElementType { get }
  /// One line: device, instruction set, library, threads; recorded with every run.
  var summary: String { get }

  // MARK: Memory

  /// Whether the device's memory is the host's, so that tensors can be read where they lie.
  var hasHostMemory: Bool { get }
  /// Bytes of a device's own memory that are free; nil where it is the host's.
  func freeByteCount() throws(ComputeError) -> Int?
  /// Names a device's own memory, which processes of a host may share; nil where it is the host's.
  var memoryName: String? { get }
  /// The most bytes of it that this process held at one time; nil where it is the host's.
  var peakByteCount: Int? { get }
  /// Says what the operations that follow are for.
  ///
  /// In passes whose losses count, every row of a product has the same bits whatever the other rows
  /// are. While texts are continued, which multiplies one row or a few, a device may be faster.
  func beginPass(isGenerating: Bool)
  /// Waits until everything that was asked for is computed.
  func synchronize() throws(ComputeError)
  /// Zeroed memory of the device.
  func makeStorage(byteCount: Int) throws(ComputeError) -> Storage
  /// Memory that the host can read and from and to which the device copies as fast as it can.
  func makeHostStorage(byteCount: Int) throws(ComputeError) -> Storage
  /// Copies float32 values to a float32 tensor of the device.
  func upload(_ values: [Float], to tensor: Tensor) throws(ComputeError)
  /// Copies int32 values to an int32 tensor of the device.
  func upload(_ values: [Int32], to tensor: Tensor) throws(ComputeError)
  /// The elements of a float32 tensor; waits until they are computed.
  func download(_ tensor: Tensor) throws(ComputeError) -> [Float]
  /// The elements of an int32 tensor; waits until they are computed.
  func downloadInt32(_ tensor: Tensor) throws(ComputeError) -> [Int32]
  /// Sets every byte to zero.
  func zero(_ tensor: Tensor) throws(ComputeError)
  /// Copies elements of the same type and count. Either tensor may lie in the host's memory; a copy
  /// from or to it is done when the call returns.
  func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError)

  // MARK: Elementwise

  /// `out += x`, float32. Used for trees of gradients and for residuals.
  func add(_ x: Tensor, to out: Tensor) throws(ComputeError)
  /// `x *= factor`, in place.
  func scale(_ x: Tensor, by factor: Float) throws(ComputeError)

  // MARK: Matrix products

  /// `out = x W^T + bias`; `[T, N] = [T, C] [N, C]^T`. Overwrites.
  func linear(_ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, out: Tensor) throws(ComputeError)
  /// `dx = dy W` or, accumulating, `dx += dy W`; `[T, C] = [T, N] [N, C]`.
  func linearBackward(_ dy: Tensor, _ weight: BaseMatrix, dx: Tensor, accumulate: Bool)
    throws(ComputeError)
  /// ``linear`` and an adapter: `out = x W^T + bias + scaling * factor M^T`; factor `[T, R]`,
  /// M `[N, R]`. Overwrites.
  func linear(
    _ x: Tensor, _ weight: BaseMatrix, bias: Tensor?, adding term: LowRankTerm, out: Tensor)
    throws(ComputeError)
  /// ``linearBackward`` and an adapter: `dx = dy W + scaling * factor M`, or `dx +=`; factor `[T, R]`,
  /// M `[R, C]`.
  func linearBackward(
    _ dy: Tensor, _ weight: BaseMatrix, adding term: LowRankTerm, dx: Tensor, accumulate: Bool)
    throws(ComputeError)
  /// `out = scaling * x B^T`, or `+=`; `x [T, C]`, `matrix [N, C]` float32, `out [T, N]`.
  func matmulTransposed(
    _ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool)
    throws(ComputeError)
  /// `out = scaling * x M`, or `+=`; `x [T, N]`, `matrix [N, C]` float32, `out [T, C]`.
  func matmul(_ x: Tensor, _ matrix: Tensor, scaling: Float, out: Tensor, accumulate: Bool)
    throws(ComputeError)
  /// Chooses how products of these sizes are computed, where that is a choice.
  ///
  /// - Parameters:
  ///   - sizes: of all products of a run.
  ///   - known: choices of an earlier run; those of an equal device and library are kept.
  /// - Returns: the choices, the same for equal devices and libraries; nil where there are none to make.
  /// - Throws: ``ComputeError`` if the device fails.
  func chooseProducts(_ sizes: [ProductSizes], keeping known: ProductChoices?)
    throws(ComputeError) -> ProductChoices?
  /// Computes products as was chosen on another rank; those of other sizes fail from then on.
  func adoptProducts(_ choices: ProductChoices) throws(ComputeError)
  /// Parameter gradient: `gradient += scaling * dy^T x`; `[N, C] += [T, N]^T [T, C]`, float32,
  /// summed over fixed chunks of tokens in order.
  func accumulateOuterProduct(
    _ dy: Tensor, _ x: Tensor, scaling: Float, gradient: Tensor) throws(ComputeError)

  // MARK: Layers

  /// `out[t] = table[ids[t]]`; ids `[1, T]` int32, `out [T, C]`. Overwrites.
  func embedding(_ ids: Tensor, _ table: BaseMatrix, out: Tensor) throws(ComputeError)

  /// RMS normalization, row by row: `out = x * reciprocalRMS * weight`.
  ///
  /// - Parameters:
  ///   - x: `[T, C]`.
  ///   - weight: `[1, C]`, float32.
  ///   - epsilon: added to the mean square; `rms_norm_eps` of the model.
  ///   - out: `[T, C]`; overwritten.
  ///   - reciprocalRMS: `[1, T]`, float32; overwritten, kept for the backward pass.
  /// - Throws: ``ComputeError`` if the device fails.
  ///
  /// Source: Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
  func rmsNorm(_ x: Tensor, weight: Tensor, epsilon: Float, out: Tensor, reciprocalRMS: Tensor)
    throws(ComputeError)
  /// Gradient of ``rmsNorm`` for the residual stream: `dx +=`.
  func rmsNormBackward(_ dy: Tensor, x: Tensor, weight: Tensor, reciprocalRMS: Tensor, dx: Tensor)
    throws(ComputeError)

  /// Rotary position embedding, in place: rotates each head's halves by the angles of its position.
  ///
  /// - Parameters:
  ///   - x: `[T, heads * D]`; channel d pairs with d + D / 2 of the same head.
  ///   - positions: `[1, T]` int32.
  ///   - table: `[2 * positions, D / 2]` float32: cosines of all positions, then sines.
  ///   - headWidth: D.
  ///   - inverse: rotate back, which is the gradient.
  /// - Throws: ``ComputeError`` if the device fails.
  func rotary(_ x: Tensor, positions: Tensor, table: Tensor, headWidth: Int, inverse: Bool)
    throws(ComputeError)

  /// Causal attention inside each sample of a pack, grouped queries, optional sliding window.
  ///
  /// - Parameters:
  ///   - q: `[T, H * D]`.
  ///   - k: `[keys, G * D]`.
  ///   - v: `[keys, G * D]`.
  ///   - shape: heads, window and where samples begin.
  ///   - out: `[T, H * D]`; overwritten.
  ///   - logSumExp: `[H, T]`, float32; overwritten, kept for the backward pass.
  /// - Throws: ``ComputeError`` if the device fails.
  func attention(
    q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, out: Tensor, logSumExp: Tensor)
    throws(ComputeError)
  /// Gradients of ``attention`` without cached keys; overwrites `dq`, `dk`, `dv`.
  func attentionBackward(
    _ dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSumExp: Tensor,
    shape: AttentionShape, dq: Tensor, dk: Tensor, dv: Tensor) throws(ComputeError)

  /// `out = silu(gate) * up`, all `[T, C]`. Overwrites.
  func swiGLU(gate: Tensor, up: Tensor, out: Tensor) throws(ComputeError)
  /// Gradients of ``swiGLU``; overwrites. `dgate` may be `gate` itself and `dup` may be `up`.
  func swiGLUBackward(_ dout: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor)
    throws(ComputeError)

  /// LoRA's dropout: `out = mask * x / (1 - rate)`; the mask depends on `key` and on each token's
  /// place in its sample alone. Overwrites. `tokens` is `[T, 2]` int32: sample, position.
  func dropout(_ x: Tensor, tokens: Tensor, key: DropoutKey, out: Tensor) throws(ComputeError)
  /// Gradient of ``dropout``: `dx += mask * dy / (1 - rate)`.
  func dropoutBackward(_ dy: Tensor, tokens: Tensor, key: DropoutKey, dx: Tensor)
    throws(ComputeError)

  // MARK: Mixture of experts

  /// Softmax over all experts, the top K of each token, their weights, and the rows by expert.
  ///
  /// - Parameters:
  ///   - logits: `[T, E]` float32.
  ///   - normalize: weights of a token's K experts sum to one.
  ///   - routing: its tensors are overwritten.
  /// - Returns: rows of each expert, E counts; the sum is T * K.
  /// - Throws: ``ComputeError`` if the device fails.
  ///
  /// Ties go to the lower expert.
  func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError) -> [Int]
  /// Gradient of the router's logits.
  ///
  /// - Parameters:
  ///   - dweights: `[T, K]` gradient of the experts' weights.
  ///   - normalize: as in ``route``.
  ///   - probabilityGradient: `[1, E]` float32: gradient that every token's probabilities get
  ///     besides, from the router loss.
  ///   - routing: of the forward pass.
  ///   - dlogits: `[T, E]`; overwritten.
  /// - Throws: ``ComputeError`` if the device fails.
  func routeBackward(
    dweights: Tensor, normalize: Bool, probabilityGradient: Tensor, routing: Routing,
    dlogits: Tensor) throws(ComputeError)
  /// `out[p] = x[token of row p]`; `x [T, C]`, `out [P, C]`. Overwrites.
  func gatherRows(_ x: Tensor, routing: Routing, out: Tensor) throws(ComputeError)
  /// Gradient of ``gatherRows``: `dx[t] = sum over its K rows of dy`, in the order of its experts.
  /// Overwrites.
  func gatherRowsBackward(_ dy: Tensor, routing: Routing, dx: Tensor) throws(ComputeError)
  /// `out[t] += sum over k of weight[t, k] * y[row of (t, k)]`, on the residual stream.
  func combineExperts(_ y: Tensor, routing: Routing, out: Tensor) throws(ComputeError)
  /// Gradients of ``combineExperts``: `dy[p] = weight * dout[t]` and
  /// `dweights[t, k] = dout[t] . y[p]`. Overwrites. `dy` may be `y` itself.
  func combineExpertsBackward(
    _ dout: Tensor, y: Tensor, routing: Routing, dy: Tensor, dweights: Tensor)
    throws(ComputeError)

  // MARK: Loss

  /// `out[i] = x[rows[i]]`, any element type; `rows [1, n]` int32. Overwrites.
  func selectRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError)
  /// `out[rows[i]] = x[i]`; other rows keep their content.
  func placeRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError)
  /// Softmax cross-entropy, loss and gradient in one pass.
  ///
  /// - Parameters:
  ///   - logits: `[n, V]`; overwritten by `gradientScale * (softmax - one-hot)` unless that is nil.
  ///   - targets: `[1, n]` int32.
  ///   - losses: `[1, n]` float32, nats; overwritten.
  ///   - gradientScale: factor of the gradient; nil computes the loss alone.
  /// - Throws: ``ComputeError`` if the device fails.
  func crossEntropy(
    logits: Tensor, targets: Tensor, losses: Tensor, gradientScale: Float?) throws(ComputeError)
  /// The index of the largest element of each row, the lowest of equals; `out [1, n]` int32.
  func argmax(_ x: Tensor, out: Tensor) throws(ComputeError)

  // MARK: Optimizer

  /// Sums of squares over blocks of `blockSize` elements, the last may be shorter; float32 input,
  /// sums in double precision in a fixed order.
  func sumsOfSquares(_ x: Tensor, blockSize: Int) throws(ComputeError) -> [Double]
  /// One AdamW update of `weights` and moments, all float32 of one length; `gradients` are
  /// read only.
  func adamW(
    weights: Tensor, gradients: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    update: AdamWUpdate) throws(ComputeError)

  // MARK: Base weights

  /// Elements of a random tensor from `first` on, a multiple of 32; `out [1, n]` float32, or
  /// bfloat16 to which they are rounded. Overwrites.
  func fill(_ out: Tensor, with random: RandomTensor, from first: Int) throws(ComputeError)
  /// Whether all elements are finite numbers; `x [1, n]` float32, bfloat16 or float16.
  func isFinite(_ x: Tensor) throws(ComputeError) -> Bool
  /// Quantizes `[1, n]` float32, bfloat16 or float16 to NF4: `codes [1, ceil(n / 2)]` uint8,
  /// `absmax [1, blocks]` float32. A last block that is shorter has an absmax of at least 1e-38.
  func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError)
  /// Second quantization of absmax values with a given offset, to 8-bit dynamic codes.
  func quantizeScales(_ absmax: Tensor, offset: Float, codes: Tensor, nestedAbsmax: Tensor)
    throws(ComputeError)
  /// Decodes a base matrix to float32 `[rows, columns]`.
  func decode(_ matrix: BaseMatrix, out: Tensor) throws(ComputeError)
}

/// What an adapter adds to a product with a base matrix: a product of low rank, both sides float32.
package struct LowRankTerm: Sendable {
  /// `[T, R]`.
  package var factor: Tensor
  package var matrix: Tensor
  package var scaling: Float

  package init(factor: Tensor, matrix: Tensor, scaling: Float) {
    self.factor = factor
    self.matrix = matrix
    self.scaling = scaling
  }

  package var rank: Int { factor.columns }
}

/// Heads of an attention and the samples it stays inside.
package struct AttentionShape: Sendable {
  /// One sample: its queries are the last tokens of its keys.
  package struct Segment: Sendable, Equatable {
    /// Rows of `q`.
    package var queries: Range<Int>
    /// Rows of `k` and `v`; as many as the queries, or more when earlier tokens are cached.
    package var keys: Range<Int>

    package init(queries: Range<Int>, keys: Range<Int>) {
      precondition(queries.count <= keys.count)
      self.queries = queries
      self.keys = keys
    }
  }

  package var queryHeads: Int
  package var keyValueHeads: Int
  package var headWidth: Int
  /// A token sees itself and this many minus one before it; nil sees the whole sample.
  package var slidingWindow: Int?
  package var segments: [Segment]
  /// Factor of the scores, `1 / sqrt(headWidth)`.
  package var scale: Float

  package init(
    queryHeads: Int, keyValueHeads: Int, headWidth: Int, slidingWindow: Int?, segments: [Segment]
  ) {
    precondition(queryHeads % keyValueHeads == 0)
    self.queryHeads = queryHeads
    self.keyValueHeads = keyValueHeads
    self.headWidth = headWidth
    self.slidingWindow = slidingWindow
    self.segments = segments
    scale = 1 / Float(headWidth).squareRoot()
  }
}

/// Where a pack's tokens go in a mixture of experts.
package struct Routing: Sendable {
  /// `[T, E]` float32: softmax of the router's logits.
  package var probabilities: Tensor
  /// `[T, K]` int32: the experts of a token, best first.
  package var experts: Tensor
  /// `[T, K]` float32: their weights.
  package var weights: Tensor
  /// `[1, P]` int32: the token of each row, rows sorted by expert, then token.
  package var tokenOfRow: Tensor
  /// `[T, K]` int32: the row of each (token, k).
  package var rowOfToken: Tensor
  /// `[1, E]` float32: sums of the probabilities over the tokens.
  package var probabilitySums: Tensor

  package init(
    probabilities: Tensor, experts: Tensor, weights: Tensor, tokenOfRow: Tensor,
    rowOfToken: Tensor, probabilitySums: Tensor
  ) {
    self.probabilities = probabilities
    self.experts = experts
    self.weights = weights
    self.tokenOfRow = tokenOfRow
    self.rowOfToken = rowOfToken
    self.probabilitySums = probabilitySums
  }
}

/// What a dropout mask depends on besides a token's sample, its place in it and the channel.
package struct DropoutKey: Sendable, Equatable {
  package var seed: UInt64
  package var step: Int
  package var layer: Int
  /// Which input of the layer; modules that read the same input share its mask.
  package var input: Int
  /// Share of the channels that become zero.
  package var rate: Float

  package init(seed: UInt64, step: Int, layer: Int, input: Int, rate: Float) {
    self.seed = seed
    self.step = step
    self.layer = layer
    self.input = input
    self.rate = rate
  }
}

/// The numbers of one AdamW update.
package struct AdamWUpdate: Sendable, Equatable {
  package var learningRate: Double
  package var beta1: Double
  package var beta2: Double
  package var epsilon: Double
  package var weightDecay: Double
  /// `1 - beta1^step` and `1 - beta2^step`.
  package var biasCorrection1: Double
  package var biasCorrection2: Double
  /// Factor of the gradients before they are used: the clipping by global norm.
  package var gradientScale: Double

  package init(
    learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double,
    biasCorrection1: Double, biasCorrection2: Double, gradientScale: Double
  ) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.biasCorrection1 = biasCorrection1
    self.biasCorrection2 = biasCorrection2
    self.gradientScale = gradientScale
  }
}
