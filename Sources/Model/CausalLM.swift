package import Compute

/// A decoder-only language model over a frozen base, with adapters: embedding, decoder layers, head.
///
/// A training pass is three calls: ``forward(_:dropout:retention:cache:)``,
/// ``loss(_:gradientScale:gradients:)``, ``backward(_:routerLossScale:gradients:layerDidFinish:)``.
/// There is no autograd: each layer's backward mirrors its forward line by line.
package final class CausalLM {
  package let configuration: ModelConfiguration
  package let backend: any Backend
  package let adapters: AdapterWeights?
  /// Activations and temporaries; sized by ``ActivationPlan``.
  package let arena: Arena
  /// Elements of a chunk of logits; a result depends on it in its last bits, so it is never tuned.
  package var logitsChunkElementCount = 1 << 24
  let assembly: LayerAssembly
  private let stream: any LayerStream
  private let rotaryTable: Tensor
  /// Layers by number and by the memory their slab lies in: a resident slab is always the same
  /// memory, and gathered ones alternate between two buffers.
  private var layers: [LayerPlace: AssembledLayer] = [:]

  private struct LayerPlace: Hashable {
    var layer: Int
    var storage: ObjectIdentifier
    var byteOffset: Int
  }

  /// - Parameters:
  ///   - configuration: of the model.
  ///   - layouts: of its slabs, from ``BaseLoader``.
  ///   - stream: hands out the slabs.
  ///   - adapters: nil runs the base alone.
  ///   - positionCount: the longest sample.
  ///   - arena: for activations.
  ///   - backend: computes.
  /// - Throws: when the device has too little memory.
  package init(
    configuration: ModelConfiguration, layouts: [SlabLayout], stream: any LayerStream,
    adapters: AdapterWeights?, positionCount: Int, arena: Arena, backend: any Backend
  ) throws {
    self.configuration = configuration
    self.backend = backend
    self.adapters = adapters
    self.arena = arena
    self.stream = stream
    assembly = LayerAssembly(configuration, layouts: layouts)
    let half = configuration.headWidth / 2
    rotaryTable = Tensor(
      storage: try backend.makeStorage(byteCount: 2 * positionCount * half * 4),
      rows: 2 * positionCount, columns: half)
    try backend.upload(
      RotaryTable.values(configuration, positionCount: positionCount), to: rotaryTable)
  }

  /// One pass over one pack, from its forward to its backward.
  package final class Pass {
    let pack: DevicePack
    var context: PassContext
    /// `[T, C]`: the residual stream, after the forward pass that of the last layer.
    let x: Tensor
    /// Sums of the router's probabilities, a row of E for each layer with experts; nil for dense
    /// models.
    let routerSums: Tensor?
    /// Rows of each expert, per layer with experts.
    var expertCounts: [[Int]] = []
    /// What each layer saved.
    var saved: [(layer: SavedLayer, mark: Int)] = []
    /// `[T, C]`: the gradient of the residual stream; nil where no backward pass follows.
    let dx: Tensor?
    /// `[1, E]`: what the router loss adds to the gradient of every token's probabilities; nil for
    /// dense models.
    let routerGradient: Tensor?
    var hasLoss = false

    init(
      pack: DevicePack, context: PassContext, x: Tensor, routerSums: Tensor?, dx: Tensor?,
      routerGradient: Tensor?
    ) {
      self.pack = pack
      self.context = context
      self.x = x
      self.routerSums = routerSums
      self.dx = dx
      self.routerGradient = routerGradient
    }
  }

  enum SavedLayer {
    case activations(DecoderBlock.Activations)
    case input(Tensor)
  }

  /// What a forward pass keeps for a backward pass.
  package enum Retention: Sendable, Equatable {
    /// Nothing: there will be no backward pass.
    case nothing
    /// All activations of the last layers; of those before, the input alone, from which the backward
    /// pass computes them again (gradient checkpointing).
    case lastLayers(Int)

    /// Every layer's activations.
    package static let activations = Retention.lastLayers(.max)
    /// Every layer's input.
    package static let inputs = Retention.lastLayers(0)
  }

  /// Runs the layers.
  ///
  /// - Parameters:
  ///   - input: the pack.
  ///   - dropout: seed, step and rate; nil drops nothing.
  ///   - retention: what is kept for a backward pass.
  ///   - cache: keys and values of earlier tokens, when texts are continued.
  /// - Returns: the pass; its memory is given back by the next call.
  /// - Throws: when the device fails.
  package func forward(
    _ input: PackInput, dropout: DropoutKey? = nil, retention: Retention,
    cache: KeyValueCache? = nil
  ) throws -> Pass {
    arena.release(to: 0)
    backend.beginPass(isGenerating: cache != nil)
    let T = input.tokens.count
    let L = configuration.layerCount
    let pack = try DevicePack(input, arena: arena, backend: backend)
    let context = PassContext(
      configuration: configuration, backend: backend, arena: arena, positions: pack.positions,
      places: pack.places, rotaryTable: rotaryTable,
      attention: AttentionShape(
        queryHeads: configuration.headCount, keyValueHeads: configuration.keyValueHeadCount,
        headWidth: configuration.headWidth, slidingWindow: nil,
        segments: segments(input, cache)),
      dropout: dropout.flatMap { $0.rate > 0 ? $0 : nil }, cache: cache)
    // What outlives the layers lies below them, so that the backward pass gives back each layer's
    // memory as it goes.
    let pass = Pass(
      pack: pack, context: context, x: arena.allocate(T, configuration.hiddenSize),
      routerSums: configuration.isMixture
        ? arena.allocate(configuration.mixtureLayerCount, configuration.expertCount) : nil,
      dx: retention == .nothing ? nil : arena.allocate(T, configuration.hiddenSize),
      routerGradient: retention == .nothing || !configuration.isMixture
        ? nil : arena.allocate(1, configuration.expertCount))
    var firstKept = L
    if case .lastLayers(let count) = retention { firstKept = L - min(count, L) }

    try backend.embedding(
      pack.ids, assembly.embedding(stream.slab(0, next: 1)), out: pass.x)
    for layer in 0..<L {
      let block = try assembled(layer, next: layer + 2).block
      let start = arena.mark
      if retention != .nothing, layer < firstKept {
        let copy = arena.allocate(T, configuration.hiddenSize)
        try backend.copy(pass.x, to: copy)
        pass.saved.append((.input(copy), start))
      }
      let mark = arena.mark
      let saved = DecoderBlock.Activations(block, context, tokenCount: T)
      try block.forward(pass.x, saved: saved, context: context)
      if let routing = saved.feedForward.routing, let sums = pass.routerSums {
        let row = pass.expertCounts.count
        try backend.copy(routing.probabilitySums, to: sums.rows(row..<row + 1))
        pass.expertCounts.append(saved.feedForward.counts.values)
      }
      if retention != .nothing, layer >= firstKept {
        pass.saved.append((.activations(saved), start))
      } else {
        arena.release(to: mark)
      }
    }
    cache?.advance()
    return pass
  }

  /// The router loss of a pass: E x sum over experts of (share of the K choices that it got) x (its
  /// mean probability), over all layers with experts and their tokens; K when the load is even, 0 for dense models.
  ///
  /// Source: Fedus et al. 2021, arXiv:2101.03961, equation 4, as transformers computes it for Mixtral.
  package func routerLoss(_ pass: Pass) throws -> Double {
    guard let sums = pass.routerSums else { return 0 }
    let E = configuration.expertCount
    let values = try backend.download(sums)
    let tokens = Double(configuration.mixtureLayerCount * pass.pack.tokenCount)
    guard tokens > 0 else { return 0 }
    return expertShares(pass).enumerated().reduce(0.0) { loss, expert in
      var probability = 0.0
      for layer in 0..<configuration.mixtureLayerCount {
        probability += Double(values[layer * E + expert.offset])
      }
      return loss + expert.element * probability / tokens
    } * Double(E)
  }

  /// Rows of each expert over all layers, per token and layer; the sum is K.
  private func expertShares(_ pass: Pass) -> [Double] {
    let tokens = Double(configuration.mixtureLayerCount * pass.pack.tokenCount)
    return (0..<configuration.expertCount).map { expert in
      Double(pass.expertCounts.reduce(0) { $0 + $1[expert] }) / max(tokens, 1)
    }
  }

  /// Runs the layers' backward passes, last to first, after ``loss(_:gradientScale:gradients:)``.
  ///
  /// - Parameters:
  ///   - pass: of the forward pass.
  ///   - routerLossScale: factor of the pack's router loss in the step's loss.
  ///   - gradients: `[1, elements]`, the adapters' gradients; accumulated.
  ///   - layerDidFinish: called when a layer's gradients are final, with its number.
  /// - Throws: when the device fails.
  package func backward(
    _ pass: Pass, routerLossScale: Double, gradients: Tensor,
    layerDidFinish: (_ layer: Int) throws -> Void = { _ in }
  ) throws {
    guard let dx = pass.dx, pass.hasLoss else { preconditionFailure("backward before loss") }
    var context = pass.context
    context.gradients = gradients
    let routerGradient = pass.routerGradient
    if let routerGradient {
      let E = configuration.expertCount
      let tokens = Double(configuration.mixtureLayerCount * pass.pack.tokenCount)
      try backend.upload(
        expertShares(pass).map { Float(routerLossScale * Double(E) * $0 / max(tokens, 1)) },
        to: routerGradient)
    }
    for layer in (0..<configuration.layerCount).reversed() {
      // After the first layer comes the embedding, for the next pass.
      let block = try assembled(layer, next: layer).block
      let (saved, mark) = pass.saved[layer]
      switch saved {
      case .activations(let saved):
        try block.backward(dx, saved: saved, routerGradient: routerGradient, context: context)
      case .input(let input):
        let saved = DecoderBlock.Activations(block, context, tokenCount: pass.pack.tokenCount)
        try backend.copy(input, to: pass.x)
        try block.forward(pass.x, saved: saved, context: context)
        try block.backward(dx, saved: saved, routerGradient: routerGradient, context: context)
      }
      arena.release(to: mark)
      try layerDidFinish(layer)
    }
  }

  // MARK: Parts

  private func segments(_ input: PackInput, _ cache: KeyValueCache?)
    -> [AttentionShape.Segment]
  {
    let counts = zip(input.boundaries, input.boundaries.dropFirst()).map { $1 - $0 }
    if let cache {
      cache.newCounts = counts
      return cache.segments(newTokens: counts)
    }
    return zip(input.boundaries, input.boundaries.dropFirst()).map {
      AttentionShape.Segment(queries: $0..<$1, keys: $0..<$1)
    }
  }

  /// A decoder layer and the slab that its base weights lie in, which it keeps.
  private final class AssembledLayer {
    let slab: Tensor
    let block: DecoderBlock
    init(slab: Tensor, block: DecoderBlock) {
      self.slab = slab
      self.block = block
    }
  }

  /// Asks for a layer's weights; `next` is the slab that follows.
  private func assembled(_ layer: Int, next: Int?) throws -> AssembledLayer {
    let slab = try stream.slab(layer + 1, next: next)
    // A layer is put together once for each place that its weights come to lie in.
    let place = LayerPlace(
      layer: layer, storage: ObjectIdentifier(slab.storage), byteOffset: slab.byteOffset)
    if let known = layers[place] { return known }
    let result = AssembledLayer(slab: slab, block: assembly.block(layer, slab, adapters))
    layers[place] = result
    return result
  }

  /// Asks for the slabs of a pass and computes nothing: for ranks that have fewer packs than others,
  /// because every rank asks for the same slabs in the same order.
  ///
  /// - Parameter isTraining: whether the pass has a backward.
  /// - Throws: when the base cannot be had.
  package func skipPass(isTraining: Bool) throws {
    let L = configuration.layerCount
    _ = try stream.slab(0, next: 1)
    for layer in 0..<L { _ = try stream.slab(layer + 1, next: layer + 2) }
    _ = try headWeights(isTraining: isTraining)
    guard isTraining else { return }
    for layer in (0..<L).reversed() {
      _ = try stream.slab(layer + 1, next: layer)
    }
  }

  /// The final norm and the head's matrix.
  ///
  /// - Parameter isTraining: whether a backward follows; else the next pass does.
  func headWeights(isTraining: Bool) throws -> (norm: Tensor, matrix: BaseMatrix) {
    let L = configuration.layerCount
    let next = isTraining ? L : 0
    let norm = assembly.finalNorm(
      try stream.slab(L + 1, next: configuration.tiesEmbeddings ? 0 : next))
    let matrix =
      configuration.tiesEmbeddings
      ? assembly.embedding(try stream.slab(0, next: nil))
      : assembly.head(try stream.slab(L + 1, next: next))
    return (norm, matrix)
  }
}
