import Model
import Support
import TestSupport
import Testing

/// Logits, losses and gradients of transformers and peft on tiny models.
@Suite struct FixtureTests {
  @Test(arguments: Fixture.names)
  func agreesWithTransformersAndPEFT(_ name: String) throws {
    let fixture = try Fixture(name)
    let tiny = try TinyModel(name)
    let logits = try tiny.logits(fixture.pack)
    let result = try tiny.run(fixture.pack, routerScale: fixture.routerCoefficient)

    let logitError = largestDifference(logits, fixture.logits)
    #expect(logitError <= 1e-5 * (fixture.logits.map(abs).max() ?? 0), "logits: \(logitError)")
    let lossError = largestDifference(result.losses, fixture.losses)
    #expect(lossError <= 2e-6 * (fixture.losses.max() ?? 0), "losses: \(lossError)")
    let loss = result.objective(routerScale: 0)
    #expect(abs(loss - fixture.loss) <= 1e-6 * fixture.loss, "\(loss), not \(fixture.loss)")
    #expect(
      abs(result.routerLoss - fixture.routerLoss) <= 1e-6 * fixture.routerLoss,
      "router loss \(result.routerLoss), not \(fixture.routerLoss)")
    let gradients = try fixture.gradients(tiny.layout)
    for entry in tiny.layout.entries {
      for (matrix, range) in [("A", entry.rangeA), ("B", entry.rangeB)] {
        let error = relativeError(result.gradients[range], gradients[range])
        #expect(error <= 1e-4, "gradient of \(entry.module), \(matrix): \(error)")
      }
    }
  }
}
