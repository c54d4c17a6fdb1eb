import Compute
import Model
import TestSupport
import Testing

/// What a pass keeps, takes and touches.
@Suite struct MemoryTests {
  @Test(arguments: Fixture.names, [Float(0), 0.3])
  func gradientCheckpointingGivesTheSameBits(_ name: String, dropout: Float) throws {
    let tiny = try TinyModel(name)
    let fixture = try Fixture(name)
    let kept = try tiny.run(
      fixture.pack, dropout: dropout, routerScale: 1, retention: .activations)
    for count in 0..<tiny.configuration.layerCount {
      let recomputed = try tiny.run(
        fixture.pack, dropout: dropout, routerScale: 1, retention: .lastLayers(count))
      #expect(kept == recomputed)
    }
    let lossAlone = try tiny.run(fixture.pack, dropout: dropout, retention: .nothing)
    #expect(lossAlone.losses == kept.losses)
  }

  @Test(arguments: Fixture.names)
  func threadsDoNotMoveABit(_ name: String) throws {
    let fixture = try Fixture(name)
    let results = try [1, 2, 3].map {
      try TinyModel(name, threads: $0).run(fixture.pack, dropout: 0.2, routerScale: 1)
    }
    #expect(results[0] == results[1])
    #expect(results[0] == results[2])
  }

  static let targetSets: [Set<LoRATarget>] = [
    [.query], [.w2], [.query, .value, .head], Set(LoRATarget.allCases),
  ]

  @Test(arguments: Fixture.names, targetSets)
  func thePlanIsWhatAPassTakes(_ name: String, targets: Set<LoRATarget>) throws {
    let tiny = try TinyModel(name, targets: targets)
    let plan = try tiny.plan()
    var random = Random(3)
    for lengths in [[1, 2], [5], [33, 16, 15], [64, 1, 40]] {
      var samples = TokenSample.random(
        lengths, below: tiny.configuration.vocabularySize, &random)
      samples[0].firstTarget = lengths[0] / 2 + 1
      let pack = PackInput(samples)
      for retention in [CausalLM.Retention.nothing, .activations, .lastLayers(1), .inputs] {
        for dropout in [Float(0), 0.1] {
          let planned = try plan.byteCount(
            tokenCount: pack.tokens.count, targetCount: pack.targets.count, retention: retention,
            hasDropout: dropout > 0)
          tiny.model.arena.reset()
          _ = try tiny.run(pack, dropout: dropout, retention: retention)
          let taken = tiny.model.arena.highWaterMark
          if tiny.configuration.isMixture {
            #expect(taken <= planned, "\(pack.tokens.count) tokens, \(retention), \(dropout)")
          } else {
            #expect(taken == planned, "\(pack.tokens.count) tokens, \(retention), \(dropout)")
          }
        }
      }
    }
  }

  @Test(arguments: ["llama-tied-head", "qwen2-tied", "mixtral-router-head"])
  func nothingButTheGradientsIsWritten(_ name: String) throws {
    for quantization in [
      QuantizationSettings(), QuantizationSettings(isNF4: true, isDouble: true),
    ] {
      let tiny = try TinyModel(name, quantization: quantization)
      let fixture = try Fixture(name)
      let base = try tiny.baseChecksum()
      let weights = try tiny.backend.download(tiny.weights)
      let first = try tiny.run(fixture.pack, dropout: 0.1, routerScale: 1)
      #expect(first.gradients.contains { $0 != 0 })
      #expect(try tiny.baseChecksum() == base)
      #expect(try tiny.backend.download(tiny.weights) == weights)
      #expect(try tiny.run(fixture.pack, dropout: 0.1, routerScale: 1) == first)
    }
  }

  @Test(arguments: ["llama-tied-head", "qwen2-tied", "mixtral-router-head"], [Float(0), 0.3])
  func chunksOfLogitsAreOneProduct(_ name: String, dropout: Float) throws {
    let tiny = try TinyModel(name)
    let fixture = try Fixture(name)
    let whole = try tiny.run(fixture.pack, dropout: dropout)
    let bytes = tiny.model.arena.highWaterMark
    // 16 rows a chunk, three chunks.
    tiny.model.logitsChunkElementCount = 1
    tiny.model.arena.reset()
    let chunks = try tiny.run(fixture.pack, dropout: dropout)
    #expect(fixture.losses.count > 32)
    #expect(tiny.model.arena.highWaterMark <= bytes)
    #expect(relativeError(chunks.losses, whole.losses) <= 1e-6)
    for entry in tiny.layout.entries {
      for range in [entry.rangeA, entry.rangeB] {
        #expect(relativeError(chunks.gradients[range], whole.gradients[range]) <= 1e-5)
      }
    }
  }

  @Test func gradientsOfSeveralPacksAddUp() throws {
    let tiny = try TinyModel("mixtral-experts")
    let fixture = try Fixture("mixtral-experts")
    func accumulate(_ pack: PackInput, into gradients: Tensor) throws {
      let pass = try tiny.model.forward(pack, retention: .activations)
      _ = try tiny.model.loss(pass, gradientScale: 1, gradients: gradients)
      try tiny.model.backward(pass, routerLossScale: 1, gradients: gradients)
    }
    let both = try tiny.makeGradients()
    var sum = [Float](repeating: 0, count: tiny.layout.elementCount)
    for pack in fixture.packsOfOne {
      try accumulate(pack, into: both)
      let alone = try tiny.makeGradients()
      try accumulate(pack, into: alone)
      sum = zip(sum, try tiny.backend.download(alone)).map { $0 + $1 }
    }
    #expect(relativeError(try tiny.backend.download(both), sum) <= 1e-6)
  }
}
