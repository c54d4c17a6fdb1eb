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
    /// The first tokens of the fixture alone; nil takes all. With many experts the loss jumps where
    /// a step changes some token's experts, which few tokens do seldom.
    var tokenCount: Int?

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
        routerScale: 2, tokenCount: 5),
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
    let pack =
      example.tokenCount.map {
        PackInput([TokenSample(tokens: Array(fixture.pack.tokens.prefix($0)))])
      } ?? fixture.pack
    let tiny = try TinyModel(example.model, targets: example.targets)
    let start = try tiny.backend.download(tiny.weights)
    let gradients = try tiny.run(
      pack, dropout: example.dropout, routerScale: example.routerScale
    ).gradients.map(Double.init)
    let norm = gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()

    func objective(_ direction: [Double], _ step: Double) throws -> Double {
      try tiny.backend.upload(
        zip(start, direction).map { Float(Double($0) + step * $1) }, to: tiny.weights)
      return try tiny.run(pack, dropout: example.dropout, retention: .nothing)
        .objective(routerScale: example.routerScale)
    }
    /// Differences of fourth order.
    func slope(_ direction: [Double], _ step: Double) throws -> Double {
      let near = try objective(direction, step) - objective(direction, -step)
      let far = try objective(direction, 2 * step) - objective(direction, -2 * step)
      return (8 * near - far) / (12 * step)
    }

    var random = Random(17)
    // Along the gradient itself, then along random directions in each kind of matrix alone.
    let along = try slope(gradients.map { $0 / norm }, 2e-3)
    #expect(abs(along - norm) <= 1e-3 * norm, "slope \(along), norm \(norm)")
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
        let found = try slope(direction, 2e-3)
        #expect(
          abs(found - expected) <= 2e-3 * abs(expected) + 1e-4 * norm,
          "\(name) \(isB ? "B" : "A"): slope \(found), gradient \(expected), norm \(norm)")
      }
    }
  }
}
