import Compute
import Model
import TestSupport
import Testing

/// Samples of a pack know nothing of each other.
@Suite struct PackTests {
  static let lengths = [11, 7, 19, 5]

  private func samples(_ tiny: TinyModel, seed: UInt64 = 1) -> [TokenSample] {
    var random = Random(seed)
    return TokenSample.random(
      Self.lengths, below: tiny.configuration.vocabularySize, &random)
  }

  @Test(arguments: Fixture.names)
  func aPackOfFourIsFourPacksOfOne(_ name: String) throws {
    let tiny = try TinyModel(name)
    let samples = samples(tiny)
    let together = try tiny.run(PackInput(samples))
    let alone = try samples.enumerated().map {
      try tiny.run(PackInput([$1], firstIndex: $0))
    }
    let losses = alone.flatMap(\.losses)
    #expect(together.losses == losses)

    // The pack's gradient is that of the mean over all targets.
    var gradients = [Float](repeating: 0, count: tiny.layout.elementCount)
    for result in alone {
      let share = Float(result.losses.count) / Float(losses.count)
      for i in gradients.indices { gradients[i] += share * result.gradients[i] }
    }
    #expect(relativeError(together.gradients, gradients) <= 1e-5)
  }

  @Test(arguments: Fixture.names, [Float(0), 0.25])
  func otherSamplesDoNotMoveALoss(_ name: String, dropout: Float) throws {
    for precision in [Precision.float32, .bfloat16] {
      let tiny = try TinyModel(name, precision: precision)
      let samples = samples(tiny)
      let before = try tiny.run(PackInput(samples), dropout: dropout).losses
      var (others, shorter) = (samples, samples)
      others[2].tokens = self.samples(tiny, seed: 2)[2].tokens
      shorter[2].tokens = Array(others[2].tokens.prefix(12))
      // Targets of samples 0, 1, 2 and 3.
      for (changed, count) in [(others, 18), (shorter, 11)] {
        let after = try tiny.run(PackInput(changed), dropout: dropout).losses
        #expect(after[16..<16 + count] != before[16..<16 + count])
        #expect(after[..<16] + after[(16 + count)...] == before[..<16] + before[34...])
      }
    }
  }

  @Test func dropoutDependsOnTheSampleAndNotOnItsPlaceInAPack() throws {
    for name in ["llama-tied-head", "mixtral-router-head"] {
      let tiny = try TinyModel(name)
      let samples = samples(tiny)
      let together = try tiny.run(PackInput(samples), dropout: 0.4).losses
      let alone = try samples.enumerated().flatMap {
        try tiny.run(PackInput([$1], firstIndex: $0), dropout: 0.4).losses
      }
      #expect(together == alone)
      let others = try samples.enumerated().flatMap {
        try tiny.run(PackInput([$1], firstIndex: $0 + 1), dropout: 0.4).losses
      }
      #expect(relativeError(together, others) > 1e-3)
    }
  }

  @Test(arguments: Fixture.names)
  func packsWithoutTargetsOrWithEmptySamples(_ name: String) throws {
    let tiny = try TinyModel(name)
    var random = Random(4)
    let samples = TokenSample.random([6, 1, 4], below: 40, &random)
    var pack = PackInput(samples)
    let losses = try tiny.run(pack).losses
    pack.boundaries.insert(6, at: 1)
    #expect(try tiny.run(pack).losses == losses)
    pack.targetRows = []
    pack.targets = []
    let pass = try tiny.model.forward(pack, retention: .nothing)
    #expect(try tiny.model.loss(pass, gradientScale: nil).tokenLosses.isEmpty)
  }
}
