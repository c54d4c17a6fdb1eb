package import Compute

/// How much memory activations and temporaries of a pass take, found by running it over a backend
/// that computes nothing.
package struct ActivationPlan {
  /// Hands out slabs that have a size and no content.
  private final class PlannedStream: LayerStream {
    let slabs: [Tensor]
    init(_ layouts: [SlabLayout]) {
      slabs = layouts.map {
        Tensor(
          storage: Storage(unbackedByteCount: max($0.byteCount, 1)), columns: $0.byteCount,
          elementType: .uint8)
      }
    }
    func slab(_ index: Int, next: Int?) throws -> Tensor { slabs[index] }
  }

  private let model: CausalLM
  private let arena: Arena
  private let layout: AdapterLayout?

  /// - Parameters:
  ///   - configuration: of the model.
  ///   - layouts: of its slabs.
  ///   - adapters: nil for the base alone.
  ///   - activationType: of the backend that will compute.
  ///   - meter: is told of every operation that takes memory of its own; nil counts none.
  package init(
    _ configuration: ModelConfiguration, layouts: [SlabLayout], adapters: AdapterLayout?,
    activationType: ElementType, meter: (any WorkspaceMeter)? = nil
  ) throws {
    let backend = PlanningBackend(activationType: activationType, meter: meter)
    arena = Arena(storage: Storage(unbackedByteCount: .max >> 1), name: "plan")
    layout = adapters
    let weights = adapters.map {
      AdapterWeights(layout: $0, values: Self.unbacked($0.elementCount))
    }
    model = try CausalLM(
      configuration: configuration, layouts: layouts, stream: PlannedStream(layouts),
      adapters: weights, positionCount: 1, arena: arena, backend: backend)
  }

  private static func unbacked(_ count: Int) -> Tensor {
    Tensor(storage: Storage(unbackedByteCount: max(4 * count, 4)), columns: count)
  }

  /// Bytes of the arena for packs of up to this size.
  ///
  /// - Parameters:
  ///   - tokenCount: tokens of a pack.
  ///   - targetCount: of these, tokens with a loss.
  ///   - retention: what is kept for the backward pass.
  ///   - hasDropout: whether inputs of adapters are dropped.
  ///   - longestSample: tokens of the longest sample; nil for one sample that fills the pack.
  /// - Returns: bytes.
  package func byteCount(
    tokenCount: Int, targetCount: Int, retention: CausalLM.Retention, hasDropout: Bool,
    longestSample: Int? = nil
  ) throws -> Int {
    arena.reset()
    let zeros = [Int32](repeating: 0, count: tokenCount)
    let targets = [Int32](repeating: 0, count: targetCount)
    let length = max(1, longestSample ?? tokenCount)
    let boundaries = Array(stride(from: 0, to: tokenCount, by: length)) + [tokenCount]
    let pass = try model.forward(
      PackInput(
        tokens: zeros, positions: zeros, sampleIndices: zeros, boundaries: boundaries,
        targetRows: targets, targets: targets),
      dropout: hasDropout ? DropoutKey(seed: 0, step: 0, layer: 0, input: 0, rate: 0.5) : nil,
      retention: retention)
    if retention == .nothing {
      _ = try model.loss(pass, gradientScale: nil)
    } else {
      let gradients = Self.unbacked(layout?.elementCount ?? 0)
      _ = try model.loss(pass, gradientScale: 1, gradients: gradients)
      try model.backward(pass, routerLossScale: 1, gradients: gradients)
    }
    return arena.highWaterMark
  }

  /// Bytes of the arena for continuing texts.
  ///
  /// - Parameters:
  ///   - tokenCount: tokens of all prompts that are continued side by side.
  ///   - textCount: these prompts.
  /// - Returns: bytes.
  package func generationByteCount(tokenCount: Int, textCount: Int) throws -> Int {
    arena.reset()
    let zeros = [Int32](repeating: 0, count: max(tokenCount, textCount))
    let pass = try model.forward(
      PackInput(
        tokens: zeros, positions: zeros, sampleIndices: zeros, boundaries: [0, zeros.count],
        targetRows: [], targets: []), retention: .nothing)
    _ = try model.logits(pass, rows: [Int32](repeating: 0, count: textCount))
    _ = arena.allocate(1, textCount, .int32)
    return arena.highWaterMark
  }
}
