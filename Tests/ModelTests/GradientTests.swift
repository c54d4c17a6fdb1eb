import Compute
import Model
import TestSupport
import Testing

/// The gradient of the whole model against differences of its loss.
@Suite struct GradientTests {
  /// What is differentiated.
  struct Case: Sendable, CustomTestStringConvertible {
    var model: String
    var targets: Set<LoRATarget>
    var dropout: Float = 0
    var routerScale = 0.0
    /// The length of a step. With many experts a long one changes some token's experts, where the
    /// loss jumps.
    var step = 2e-3

    var testDescription: String { "\(model), dropout \(dropout), router \(routerScale)" }

    static let dense: Set<LoRATarget> = [.query, .key, .value, .output, .w1, .w3, .w2, .head]
    static let all = [
      Case(model: "llama-wide-heads-rslora", targets: dense),
      Case(model: "llama-rope-scaled", targets: dense, dropout: 0.3),
      Case(model: "llama-tied-head", targets: dense, dropout: 0.3),
      Case(model: "qwen2-tied", targets: dense),
      Case(model: "qwen3-tied", targets: dense, dropout: 0.3),
      Case(model: "qwen3-window", targets: dense),
      Case(
        model: "qwen3-experts-plain", targets: Set(LoRATarget.allCases), dropout: 0.3,
        routerScale: 2, step: 5e-4),
      Case(model: "qwen3-experts", targets: Set(LoRATarget.allCases), step: 5e-4),
      Case(
        model: "qwen3-experts", targets: Set(LoRATarget.allCases), dropout: 0.3, routerScale: 2,
        step: 5e-4),
      Case(model: "mixtral-experts", targets: Set(LoRATarget.allCases)),
      Case(model: "mixtral-experts", targets: Set(LoRATarget.allCases), routerScale: 2),
      Case(
        model: "mixtral-router-head", targets: Set(LoRATarget.allCases), dropout: 0.3,
        routerScale: 2),
    ]
  }

  @Test(arguments: Case.all)
  func isTheSlopeOfTheLoss(_ example: Case) throws {
    let fixture = try Fixture(example.model)
    let pack = fixture.pack
    let recorder = RoutingRecorder()
    let tiny = try TinyModel(example.model, targets: example.targets, backend: recorder)
    let start = try tiny.backend.download(tiny.weights)
    let gradients = try tiny.run(
      pack, dropout: example.dropout, routerScale: example.routerScale
    ).gradients.map(Double.init)
    let norm = gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()

    func objective(_ direction: [Double], _ step: Double) throws -> Double {
      try tiny.backend.upload(
        zip(start, direction).map { Float(Double($0) + step * $1) }, to: tiny.weights)
      _ = recorder.takeChoices()
      return try tiny.run(pack, dropout: example.dropout, retention: .nothing)
        .objective(routerScale: example.routerScale)
    }
    _ = try objective(gradients, 0)
    let choices = recorder.takeChoices()
    #expect(choices.isEmpty == !tiny.configuration.isMixture)
    /// Differences of fourth order; nil where a step changes which experts a token goes to.
    func slope(_ direction: [Double]) throws -> Double? {
      var values: [Double] = []
      for factor in [-2.0, -1, 1, 2] {
        values.append(try objective(direction, factor * example.step))
        guard recorder.takeChoices() == choices else { return nil }
      }
      return (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * example.step)
    }

    var random = Random(17)
    // Along the gradient itself, then along random directions in each kind of matrix alone.
    var (checkedCount, skippedCount) = (0, 0)
    if let along = try slope(gradients.map { $0 / norm }) {
      #expect(abs(along - norm) <= 1e-3 * norm, "slope \(along), norm \(norm)")
      checkedCount += 1
    } else {
      skippedCount += 1
    }
    for target in LoRATarget.allCases where example.targets.contains(target) {
      let name = target.moduleName(tiny.configuration.architecture)
      for isB in [false, true] {
        var direction = [Double](repeating: 0, count: gradients.count)
        for entry in tiny.layout.entries where entry.module.hasSuffix(name) {
          for i in isB ? entry.rangeB : entry.rangeA {
            // Half random, half with the gradient, so that the slope is not lost in rounding.
            direction[i] = gradients[i] * (1 + random.normal())
          }
        }
        let size = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
        direction = direction.map { $0 / size }
        let expected = zip(gradients, direction).reduce(0) { $0 + $1.0 * $1.1 }
        guard let found = try slope(direction) else {
          skippedCount += 1
          continue
        }
        checkedCount += 1
        #expect(
          abs(found - expected) <= 2e-3 * abs(expected) + 1e-4 * norm,
          "\(name) \(isB ? "B" : "A"): slope \(found), gradient \(expected), norm \(norm)")
      }
    }
    #expect(checkedCount > skippedCount, "\(skippedCount) steps changed the experts")
  }
}
