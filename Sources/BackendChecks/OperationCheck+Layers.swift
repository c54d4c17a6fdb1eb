internal import Compute

extension OperationCheck {
  /// One element, odd widths, whole vectors, more than one block of threads.
  private static let shapes = [(1, 1), (1, 64), (3, 7), (5, 130), (2, 1028), (70, 33)]

  private static func each(
    _ shapes: [(Int, Int)],
    _ run: @escaping @Sendable (OperationInputs, Int, Int) throws -> [Tensor]
  ) -> [Case] {
    shapes.map { T, C in Case("[\(T), \(C)]") { try run($0, T, C) } }
  }

  /// Operations on each token by itself, and the optimizer.
  static let layers: [OperationCheck] = [
    OperationCheck(
      "add and scale", .float32,
      each(shapes) { device, T, C in
        let (x, y) = (try device.random(T, C), try device.random(T, C))
        try device.backend.add(x, to: y)
        try device.backend.scale(x, by: 0.3)
        return [x, y]
      }),
    OperationCheck(
      "SwiGLU and its gradients", .float32,
      each(shapes.map { T, C in (T, max(C, 9)) }) { device, T, C in
        let (gate, up) = (try device.random(T, C), try device.random(T, C))
        let (dout, out) = (try device.random(T, C), try device.empty(T, C))
        try device.backend.swiGLU(gate: gate, up: up, out: out)
        // In place, as the layers use it.
        try device.backend.swiGLUBackward(dout, gate: gate, up: up, dgate: gate, dup: up)
        return [gate, up, out]
      }),
    OperationCheck(
      "RMSNorm and its gradient", .float32,
      each(shapes) { device, T, C in
        let (x, dy) = (try device.random(T, C), try device.random(T, C))
        let (weight, dx) = (try device.random(1, C), try device.random(T, C))
        let (out, reciprocals) = (try device.empty(T, C), try device.empty(1, T))
        try device.backend.rmsNorm(
          x, weight: weight, epsilon: 1e-5, out: out, reciprocalRMS: reciprocals)
        try device.backend.rmsNormBackward(
          dy, x: x, weight: weight, reciprocalRMS: reciprocals, dx: dx)
        return [out, reciprocals, dx]
      }),
    OperationCheck(
      "rotary embedding and its gradient", .float32,
      [(1, 1, 2), (5, 3, 14), (9, 2, 64), (7, 1, 128)].map { T, heads, D in
        Case("\(T) tokens, \(heads) heads of \(D)") { device in
          let (x, dx) = (try device.random(T, heads * D), try device.random(T, heads * D))
          let positions = try device.tensor(device.integers(T, below: 11))
          let table = try device.random(22, D / 2)
          for (tensor, inverse) in [(x, false), (dx, true)] {
            try device.backend.rotary(
              tensor, positions: positions, table: table, headWidth: D, inverse: inverse)
          }
          return [x, dx]
        }
      }),
    OperationCheck(
      "dropout and its gradient", .bits,
      each([(1, 1), (3, 7), (4, 64), (2, 517)]) { device, T, C in
        let (x, dx) = (try device.random(T, C), try device.random(T, C))
        let tokens = try device.tensor(device.integers(2 * T, below: 1000), rows: T)
        var results = [dx]
        for rate: Float in [0.1, 0.5] {
          let key = DropoutKey(seed: 0x1234_5678_9ABC, step: 12, layer: 3, input: 5, rate: rate)
          results.append(try device.empty(T, C))
          try device.backend.dropout(x, tokens: tokens, key: key, out: results[results.count - 1])
          try device.backend.dropoutBackward(x, tokens: tokens, key: key, dx: dx)
        }
        return results
      }),
    OperationCheck(
      "sums of squares and AdamW", .float32,
      [1, 100, 1000].map { count in
        Case("\(count) weights") { device in
          let tensors = try (0..<3).map { _ in try device.random(1, count) }
          let second = try device.tensor((0..<count).map { _ in abs(device.normal()) })
          let sums = try device.backend.sumsOfSquares(tensors[1], blockSize: 64)
          try device.backend.adamW(
            weights: tensors[0], gradients: tensors[1], firstMoment: tensors[2],
            secondMoment: second,
            update: AdamWUpdate(
              learningRate: 1e-2, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1,
              biasCorrection1: 0.3, biasCorrection2: 0.05, gradientScale: 0.7))
          return tensors + [second, try device.tensor(sums.map { Float($0) })]
        }
      }),
  ]

  /// Operations that find rows by their numbers, and the loss.
  static let rows: [OperationCheck] =
    StorageFormat.allCases.map { format in
      OperationCheck(
        "embedding, \(format.rawValue)", .bits,
        [1, 40, 64, 200].map { C in
          Case("[9, \(C)]") { device in
            let table = try device.base(9, C, format)
            let out = try device.empty(4, C)
            try device.backend.embedding(
              try device.tensor([8, 0, 3, 3] as [Int32]), table, out: out)
            return [out]
          }
        })
    } + [
      OperationCheck(
        "rows by index", .bits,
        [1, 3, 8, 515].map { C in
          Case("[6, \(C)]") { device in
            let x = try device.random(6, C)
            let rows = try device.tensor([5, 0, 3] as [Int32])
            let (out, placed) = (try device.empty(3, C), try device.random(6, C))
            try device.backend.selectRows(x, rows: rows, out: out)
            try device.backend.placeRows(out, rows: rows, out: placed)
            return [out, placed]
          }
        }),
      OperationCheck(
        "largest element of rows", .bits,
        [1, 5, 256, 1000].map { V in
          Case("[4, \(V)]") { device in
            // Few different values: most maxima are shared, and the lowest index wins.
            let x = try device.tensor(device.integers(4 * V, below: 3).map { Float($0) }, rows: 4)
            let out = try device.tensor([Int32](repeating: -1, count: 4))
            try device.backend.argmax(x, out: out)
            return [out]
          }
        }),
      OperationCheck(
        "cross-entropy and its gradient", .float32,
        each([(1, 1), (3, 2), (5, 515), (2, 2050)]) { device, n, V in
          let (logits, other) = (
            try device.random(n, V, scale: 4), try device.random(n, V, scale: 4)
          )
          let targets = try device.tensor(device.integers(n, below: V))
          let (losses, alone) = (try device.empty(1, n), try device.empty(1, n))
          try device.backend.crossEntropy(
            logits: logits, targets: targets, losses: losses, gradientScale: 0.25)
          try device.backend.crossEntropy(
            logits: other, targets: targets, losses: alone, gradientScale: nil)
          // The loss of one class is zero, and so is its gradient, which is nothing but rounding.
          return V == 1 ? [losses, alone] : [logits, losses, other, alone]
        }),
    ]
}
