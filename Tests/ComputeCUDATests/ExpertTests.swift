import Compute
import ComputeCUDA
import TestSupport
import Testing

/// Routing and experts on the emulated device against the CPU backend.
@Suite struct ExpertTests {
  /// One token, one expert, all experts, more experts than lanes, more than one chunk of rows.
  @Test(arguments: [(1, 8, 2), (5, 1, 1), (6, 3, 3), (3, 64, 1), (700, 8, 2), (31, 40, 4)])
  func routes(_ T: Int, _ E: Int, _ K: Int) throws {
    let pair = try Comparison()
    for normalize in [false, true] {
      try pair.check { device, random in
        let routing = try device.routing(T, E, K)
        // Few tokens and many experts leave most of them empty.
        let counts = try device.backend.route(
          try device.random(T, E, &random, scale: 2), normalize: normalize, routing: routing)
        let dlogits = try device.empty(T, E)
        try device.backend.routeBackward(
          dweights: try device.random(T, K, &random), normalize: normalize,
          probabilityGradient: try device.random(1, E, &random), routing: routing,
          dlogits: dlogits)
        let results = [
          routing.probabilities, routing.experts, routing.weights, routing.tokenOfRow,
          routing.rowOfToken, routing.probabilitySums,
        ]
        // With one expert there is no choice, and the gradient is nothing but rounding.
        return try (results + (E == 1 ? [] : [dlogits])).map(device.numbers)
          + [counts.map { Float($0) }]
      }
    }
  }

  @Test func tiesGoToTheLowerExpert() throws {
    try Comparison().check(0) { device, _ in
      let routing = try device.routing(2, 40, 3)
      var logits = Matrix(2, 40, repeating: 0.25)
      logits[1, 35] = 1
      logits[1, 39] = 1
      let counts = try device.backend.route(
        try device.tensor(logits), normalize: false, routing: routing)
      return [try device.numbers(routing.experts), counts.map { Float($0) }]
    }
  }

  @Test(arguments: [1, 7, 130]) func gathersAndCombines(_ C: Int) throws {
    let (T, E, K) = (21, 8, 2)
    try Comparison().check { device, random in
      let routing = try device.routing(T, E, K)
      _ = try device.backend.route(
        try device.random(T, E, &random), normalize: true, routing: routing)
      let (x, y) = (try device.random(T, C, &random), try device.random(T * K, C, &random))
      let (gathered, dx) = (try device.empty(T * K, C), try device.empty(T, C))
      let (out, dweights) = (try device.random(T, C, &random), try device.empty(T, K))
      try device.backend.gatherRows(x, routing: routing, out: gathered)
      try device.backend.gatherRowsBackward(y, routing: routing, dx: dx)
      try device.backend.combineExperts(y, routing: routing, out: out)
      // In place, as the layer uses it.
      try device.backend.combineExpertsBackward(
        x, y: y, routing: routing, dy: y, dweights: dweights)
      return try [gathered, dx, out, y, dweights].map(device.floats)
    }
  }
}

extension TestDevice {
  fileprivate func routing(_ T: Int, _ E: Int, _ K: Int) throws -> Routing {
    func integers(_ rows: Int, _ columns: Int) throws -> Tensor {
      try tensor([Int32](repeating: -1, count: rows * columns), rows: rows)
    }
    return Routing(
      probabilities: try empty(T, E), experts: try integers(T, K), weights: try empty(T, K),
      tokenOfRow: try integers(1, T * K), rowOfToken: try integers(T, K),
      probabilitySums: try empty(1, E))
  }
}
