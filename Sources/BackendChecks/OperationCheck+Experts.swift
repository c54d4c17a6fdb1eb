internal import Compute

extension OperationInputs {
  func routing(_ T: Int, _ E: Int, _ K: Int) throws -> Routing {
    func integers(_ rows: Int, _ columns: Int) throws -> Tensor {
      try tensor([Int32](repeating: -1, count: rows * columns), rows: rows)
    }
    return Routing(
      probabilities: try empty(T, E), experts: try integers(T, K), weights: try empty(T, K),
      tokenOfRow: try integers(1, T * K), rowOfToken: try integers(T, K),
      probabilitySums: try empty(1, E))
  }
}

extension OperationCheck {
  /// A mixture of experts around its products.
  static let routing: [OperationCheck] = [
    OperationCheck(
      "router, its loss and its gradient", .float32,
      // One token, one expert, all experts, more experts than lanes, empty experts, more than one
      // chunk of rows.
      [(1, 8, 2), (5, 1, 1), (6, 3, 3), (3, 64, 1), (700, 8, 2), (31, 40, 4)].flatMap { T, E, K in
        [false, true].map { normalize in
          Case("\(T) tokens, \(K) of \(E) experts") { device in
            let routing = try device.routing(T, E, K)
            let counts = try device.backend.route(
              try device.random(T, E, scale: 2), normalize: normalize, routing: routing)
            let dlogits = try device.empty(T, E)
            try device.backend.routeBackward(
              dweights: try device.random(T, K), normalize: normalize,
              probabilityGradient: try device.random(1, E), routing: routing, dlogits: dlogits)
            let results = [
              routing.probabilities, routing.experts, routing.weights, routing.tokenOfRow,
              routing.rowOfToken, routing.probabilitySums,
              try device.tensor(counts.map { Float($0) }),
            ]
            // With one expert there is no choice, and the gradient is nothing but rounding.
            return results + (E == 1 ? [] : [dlogits])
          }
        }
      }),
    OperationCheck(
      "ties between experts", .bits,
      [
        Case("2 tokens, 3 of 40 experts") { device in
          let routing = try device.routing(2, 40, 3)
          var logits = [Float](repeating: 0.25, count: 80)
          logits[75] = 1
          logits[79] = 1
          let counts = try device.backend.route(
            try device.tensor(logits, rows: 2), normalize: false, routing: routing)
          return [routing.experts, try device.tensor(counts.map { Float($0) })]
        }
      ]),
    OperationCheck(
      "rows of experts gathered and combined", .float32,
      [1, 7, 130].map { C in
        Case("[21, \(C)], 2 of 8 experts") { device in
          let (T, E, K) = (21, 8, 2)
          let routing = try device.routing(T, E, K)
          _ = try device.backend.route(
            try device.random(T, E), normalize: true, routing: routing)
          let (x, y) = (try device.random(T, C), try device.random(T * K, C))
          let (gathered, dx) = (try device.empty(T * K, C), try device.empty(T, C))
          let (out, dweights) = (try device.random(T, C), try device.empty(T, K))
          try device.backend.gatherRows(x, routing: routing, out: gathered)
          try device.backend.gatherRowsBackward(y, routing: routing, dx: dx)
          try device.backend.combineExperts(y, routing: routing, out: out)
          // In place, as the layer uses it.
          try device.backend.combineExpertsBackward(
            x, y: y, routing: routing, dy: y, dweights: dweights)
          return [gathered, dx, out, y, dweights]
        }
      }),
  ]
}
