internal import Compute

extension OperationCheck {
  /// One row, one column, odd widths, and sizes beyond a tile and beyond a step of the depth.
  private static let shapes = [
    (1, 1, 9), (9, 5, 1), (3, 7, 5), (1, 64, 130), (70, 33, 65), (131, 100, 129),
  ]

  /// Products with base weights in each format and precision, and with adapters.
  static let products: [OperationCheck] =
    [Precision.float32, .bfloat16].flatMap { precision in
      StorageFormat.allCases.map { format in
        OperationCheck(
          "linear and its gradient, \(format.rawValue)",
          precision == .float32 ? .float32 : .tensorCores, precision: precision,
          (shapes + [(0, 7, 5)]).map { T, C, N in
            Case("[\(T), \(C)] by [\(N), \(C)]") { device in
              let weight = try device.base(N, C, format)
              let (x, dy) = (try device.random(T, C), try device.random(T, N))
              let bias = try device.random(1, N)
              let (out, biased) = (try device.empty(T, N), try device.empty(T, N))
              let (dx, sum) = (try device.empty(T, C), try device.random(T, C))
              try device.backend.linear(x, weight, bias: nil, out: out)
              try device.backend.linear(x, weight, bias: bias, out: biased)
              try device.backend.linearBackward(dy, weight, dx: dx, accumulate: false)
              try device.backend.linearBackward(dy, weight, dx: sum, accumulate: true)
              return [out, biased, dx, sum]
            }
          })
      }
    } + adapted + [
      OperationCheck(
        "router, which stays float32", .float32, precision: .bfloat16,
        [
          Case("[3, 40] by [8, 40]") { device in
            let weight = try device.base(8, 40, .float32, isAlwaysFloat32: true)
            let out = try device.empty(3, 8)
            try device.backend.linear(try device.random(3, 40), weight, bias: nil, out: out)
            return [out]
          }
        ]),
      OperationCheck(
        "products of adapters and their gradients", .float32,
        (shapes + [(1030, 5, 3)]).map { T, C, N in
          Case("[\(T), \(C)] by [\(N), \(C)]") { device in
            let backend = device.backend
            let (x, y) = (try device.random(T, C), try device.random(T, N))
            let matrix = try device.random(N, C)
            let (out, sum) = (try device.empty(T, N), try device.random(T, N))
            let (back, backSum) = (try device.empty(T, C), try device.random(T, C))
            let gradient = try device.random(N, C)
            try backend.matmulTransposed(x, matrix, scaling: 0.5, out: out, accumulate: false)
            try backend.matmulTransposed(x, matrix, scaling: 2, out: sum, accumulate: true)
            try backend.matmul(y, matrix, scaling: 0.5, out: back, accumulate: false)
            try backend.matmul(y, matrix, scaling: 2, out: backSum, accumulate: true)
            try backend.accumulateOuterProduct(y, x, scaling: 0.7, gradient: gradient)
            return [out, sum, back, backSum, gradient]
          }
        }),
    ]

  /// Base weights with an adapter's term. Its numbers are bf16's own, so that rounding them, which a
  /// device may do, changes nothing.
  private static let adapted: [OperationCheck] =
    [Precision.float32, .bfloat16].flatMap { precision in
      [StorageFormat.nf4, .bfloat16].map { format in
        OperationCheck(
          "linear with an adapter and its gradient, \(format.rawValue)",
          precision == .float32 ? .float32 : .tensorCores, precision: precision,
          [(1, 1, 9, 1), (3, 7, 5, 4), (70, 33, 65, 3), (131, 128, 96, 33), (5, 64, 64, 300)].map {
            T, C, N, R in
            Case("[\(T), \(C)] by [\(N), \(C)], rank \(R)") { device in
              let weight = try device.base(N, C, format)
              let (x, dy) = (try device.random(T, C), try device.random(T, N))
              let bias = try device.random(1, N)
              let (out, dx) = (try device.empty(T, N), try device.empty(T, C))
              let sum = try device.random(T, C)
              let forward = LowRankTerm(
                factor: try device.coarse(T, R), matrix: try device.coarse(N, R), scaling: 0.5)
              let backward = LowRankTerm(
                factor: try device.coarse(T, R), matrix: try device.coarse(R, C), scaling: 2)
              let backend = device.backend
              try backend.linear(x, weight, bias: bias, adding: forward, out: out)
              try backend.linearBackward(dy, weight, adding: backward, dx: dx, accumulate: false)
              try backend.linearBackward(dy, weight, adding: backward, dx: sum, accumulate: true)
              return [out, dx, sum]
            }
          })
      }
    }

  /// Storage formats, written and read.
  static let quantization: [OperationCheck] =
    [ElementType.float32, .bfloat16, .float16].map { type in
      OperationCheck(
        "quantization to nf4, from \(type)", .bits,
        [1, 63, 64, 65, 1000, 20_001].map { count in
          Case("\(count) weights") { device in
            var values = (0..<count).map { _ in device.normal() }
            // A block of zeros, and values on the bounds between codes.
            for i in 0..<min(64, count) where count > 200 { values[i] = 0 }
            for i in 64..<max(64, min(79, count - 1)) {
              values[i] = (NF4.values[i - 64] + NF4.values[i - 63]) / 2
            }
            let codes = try device.tensor(
              bytes: [UInt8](repeating: 0xAB, count: NF4.codeByteCount(count)),
              columns: NF4.codeByteCount(count))
            let absmax = try device.empty(1, NF4.blockCount(count))
            try device.backend.quantizeNF4(
              try device.tensor(values, as: type), codes: codes, absmax: absmax)
            let scaleCodes = try device.tensor(
              bytes: [UInt8](repeating: 0xAB, count: absmax.count), columns: absmax.count)
            let nested = try device.empty(1, NF4.nestedBlockCount(count))
            try device.backend.quantizeScales(
              absmax, offset: 1.25, codes: scaleCodes, nestedAbsmax: nested)
            return [codes, absmax, scaleCodes, nested]
          }
        })
    } + [
      OperationCheck(
        "random weights", .bits,
        [(1, 0), (7, 32), (2056, 1 << 34 - 1024), (5001, 96)].map { (count: Int, first: Int) in
          Case("\(count) weights") { device in
            let random = RandomTensor(seed: 77, stream: device.next(), standardDeviation: 0.02)
            let floats = try device.empty(1, count)
            let halves = try device.tensor(
              bytes: [UInt8](repeating: 0xAB, count: 2 * count), columns: count, .bfloat16)
            try device.backend.fill(floats, with: random, from: first)
            try device.backend.fill(halves, with: random, from: first)
            return [floats, halves]
          }
        }),
      OperationCheck(
        "numbers that are not finite", .bits,
        [ElementType.float32, .bfloat16, .float16].map { type in
          Case("\(type)") { device in
            var found: [Float] = []
            for (count, places) in [
              (1, [nil, 0]), (31, [nil, 15, 30]), (1025, [0, 1023, 1024]), (300_000, [299_999]),
            ] as [(Int, [Int?])] {
              for (place, bad) in zip(places, [Float.nan, .infinity, -.infinity]) {
                var values = [Float](repeating: 1, count: count)
                if let place { values[place] = bad }
                let tensor = try device.tensor(values, as: type)
                found.append(try device.backend.isFinite(tensor) ? 1 : 0)
              }
            }
            return [try device.tensor(found)]
          }
        }),
    ]
    + StorageFormat.allCases.map { format in
      OperationCheck(
        "decoding, \(format.rawValue)", .bits,
        [(1, 1), (3, 7), (5, 64), (3, 100), (70, 256)].map { rows, columns in
          Case("[\(rows), \(columns)]") { device in
            let matrix = try device.base(rows, columns, format)
            let out = try device.empty(rows, columns)
            try device.backend.decode(matrix, out: out)
            return [out]
          }
        })
    }
}
