internal import Compute

/// An operation with its operands on the device, and what it costs at least.
struct TimedOperation {
  let name: String
  /// Of products; zero elsewhere.
  let operationCount: Double
  let byteCount: Double
  let run: () throws -> Void

  /// The operations of one layer, of the head and of the optimizer at a model's shapes. A base
  /// weight is in NF4; operands are random numbers, since zeros draw less power.
  static func all(_ shapes: TimedShapes, tokens T: Int, _ backend: any Backend) throws
    -> [TimedOperation]
  {
    let (C, F, V, R) = (shapes.hidden, shapes.intermediate, shapes.vocabulary, shapes.loraRank)
    let (E, K) = (shapes.experts, shapes.expertsPerToken)
    let (A, G) = (shapes.heads * shapes.headWidth, shapes.keyValueHeads * shapes.headWidth)
    // Rows of all experts, and of one that gets its share.
    let (P, M) = (T * K, max(1, T * K / E))
    let inputs = OperationInputs(backend, seed: 11)
    let pattern = try inputs.random(1, 1 << 16)
    func tensor(_ rows: Int, _ columns: Int) throws -> Tensor {
      let tensor = Tensor(
        storage: try backend.makeStorage(byteCount: 4 * rows * columns), rows: rows,
        columns: columns)
      for first in stride(from: 0, to: tensor.count, by: pattern.count) {
        let part = tensor.elements(first..<min(tensor.count, first + pattern.count))
        try backend.copy(pattern.elements(0..<part.count), to: part)
      }
      return tensor
    }
    func bytes(_ tensors: Tensor...) -> Double { tensors.reduce(0) { $0 + Double($1.byteCount) } }
    /// A matrix in NF4 without second quantization: what it takes to make and to read one.
    func weight(_ rows: Int, _ columns: Int) throws -> (matrix: BaseMatrix, values: Tensor) {
      let values = try tensor(rows, columns)
      let codes = Tensor(
        storage: try backend.makeStorage(byteCount: values.count / 2), columns: values.count / 2,
        elementType: .uint8)
      let absmax = try tensor(1, NF4.blockCount(values.count))
      try backend.quantizeNF4(values.elements(0..<values.count), codes: codes, absmax: absmax)
      return (
        BaseMatrix(
          rows: rows, columns: columns, format: .nf4(codes: codes, scales: .plain(absmax))), values
      )
    }

    let (x, y) = (try tensor(T, C), try tensor(T, C))
    let (q, k, v) = (try tensor(T, A), try tensor(T, G), try tensor(T, G))
    let (dq, dk, dv) = (try tensor(T, A), try tensor(T, G), try tensor(T, G))
    let (gate, up, wide) = (try tensor(P, F), try tensor(P, F), try tensor(P, F))
    let rows = try tensor(P, C)
    let (attention, logSumExp) = (try tensor(T, A), try tensor(shapes.heads, T))
    let (norm, reciprocals) = (try tensor(1, C), try tensor(1, T))
    let queryWeight = try weight(A, C)
    let (gateWeight, downWeight) = (try weight(F, C), try weight(C, F))
    var list: [TimedOperation] = []
    func add(
      _ name: String, operations: Double = 0, bytes: Double, _ run: @escaping () throws -> Void
    ) {
      list.append(
        TimedOperation(name: name, operationCount: operations, byteCount: bytes, run: run))
    }
    func addProduct(_ name: String, rows count: Int, _ weight: BaseMatrix) throws {
      let (N, K) = (weight.rows, weight.columns)
      let operand = (K == F ? wide : K == C ? rows : q).elements(0..<count * K)
        .reshaped(rows: count, columns: K)
      let out = (N == F ? gate : N == C ? rows : q).elements(0..<count * N)
        .reshaped(rows: count, columns: N)
      let operations = 2 * Double(count) * Double(N) * Double(K)
      let traffic = bytes(operand, out) + Double(N * K) * 0.5625
      add("linear, \(name)", operations: operations, bytes: traffic) {
        try backend.linear(operand, weight, bias: nil, out: out)
      }
      add("its gradient", operations: operations, bytes: traffic) {
        try backend.linearBackward(out, weight, dx: operand, accumulate: false)
      }
      let term = LowRankTerm(
        factor: try tensor(count, R), matrix: try tensor(N, R), scaling: 0.5)
      add(
        "linear and its adapter, \(name)", operations: operations + 2 * Double(count * R * N),
        bytes: traffic + bytes(term.factor, term.matrix)
      ) {
        try backend.linear(operand, weight, bias: nil, adding: term, out: out)
      }
    }
    try addProduct("query, \(T) rows", rows: T, queryWeight.matrix)
    try addProduct("gate, \(M) rows", rows: M, gateWeight.matrix)
    try addProduct("down, \(M) rows", rows: M, downWeight.matrix)
    let decoded = gateWeight.values
    add("decoding nf4", bytes: bytes(decoded) * 1.140625) {
      try backend.decode(gateWeight.matrix, out: decoded)
    }
    if case .nf4(let codes, .plain(let absmax)) = queryWeight.matrix.format {
      let values = queryWeight.values.elements(0..<queryWeight.values.count)
      add("quantizing to nf4", bytes: bytes(values) * 1.140625) {
        try backend.quantizeNF4(values, codes: codes, absmax: absmax)
      }
    }

    let shape = AttentionShape(
      queryHeads: shapes.heads, keyValueHeads: shapes.keyValueHeads, headWidth: shapes.headWidth,
      slidingWindow: nil, segments: [.init(queries: 0..<T, keys: 0..<T)])
    // Two products over half of the pairs; backward five.
    let pairs = Double(T) * Double(T + 1) / 2 * Double(A)
    add("attention", operations: 4 * pairs, bytes: bytes(q, k, v, attention, logSumExp)) {
      try backend.attention(q: q, k: k, v: v, shape: shape, out: attention, logSumExp: logSumExp)
    }
    add(
      "its gradients", operations: 10 * pairs,
      bytes: bytes(q, k, v, attention, logSumExp, dq, dk, dv) + bytes(q)
    ) {
      try backend.attentionBackward(
        dq, q: q, k: k, v: v, out: attention, logSumExp: logSumExp, shape: shape, dq: attention,
        dk: dk, dv: dv)
    }
    let positions = try inputs.tensor((0..<T).map { Int32($0) })
    let table = try tensor(2 * T, shapes.headWidth / 2)
    add("rotary embedding", bytes: bytes(dq, dq, table)) {
      try backend.rotary(
        dq, positions: positions, table: table, headWidth: shapes.headWidth, inverse: false)
    }

    add("RMSNorm", bytes: bytes(x, y)) {
      try backend.rmsNorm(x, weight: norm, epsilon: 1e-5, out: y, reciprocalRMS: reciprocals)
    }
    add("its gradient", bytes: bytes(x, y, y, y)) {
      try backend.rmsNormBackward(x, x: x, weight: norm, reciprocalRMS: reciprocals, dx: y)
    }
    add("add", bytes: bytes(x, y, y)) { try backend.add(x, to: y) }
    add("SwiGLU", bytes: bytes(gate, up, wide)) {
      try backend.swiGLU(gate: gate, up: up, out: wide)
    }
    add("its gradients", bytes: bytes(gate, up, wide, gate, up)) {
      try backend.swiGLUBackward(wide, gate: gate, up: up, dgate: gate, dup: up)
    }
    let tokens = try inputs.tensor((0..<2 * T).map { Int32($0 / 2) }, rows: T)
    let key = DropoutKey(seed: 1, step: 1, layer: 1, input: 1, rate: 0.1)
    add("dropout", bytes: bytes(x, y)) {
      try backend.dropout(x, tokens: tokens, key: key, out: y)
    }

    if E > 1 {
      let routing = try inputs.routing(T, E, K)
      let (logits, dweights) = (try inputs.random(T, E), try tensor(T, K))
      _ = try backend.route(logits, normalize: true, routing: routing)
      add("router, sorted by expert", bytes: bytes(logits, routing.probabilities)) {
        _ = try backend.route(logits, normalize: true, routing: routing)
      }
      add("rows to experts", bytes: bytes(rows, rows)) {
        try backend.gatherRows(x, routing: routing, out: rows)
      }
      add("its gradient", bytes: bytes(rows, y)) {
        try backend.gatherRowsBackward(rows, routing: routing, dx: y)
      }
      add("experts combined", bytes: bytes(rows, y, y)) {
        try backend.combineExperts(rows, routing: routing, out: y)
      }
      add("its gradients", bytes: bytes(rows, rows, rows)) {
        try backend.combineExpertsBackward(
          x, y: rows, routing: routing, dy: rows, dweights: dweights)
      }
    }

    let (loraA, loraB, xa) = (try tensor(R, C), try tensor(A, R), try tensor(T, R))
    let skinny = 2 * Double(T) * Double(R)
    add("adapter, x A", operations: skinny * Double(C), bytes: bytes(x, xa)) {
      try backend.matmulTransposed(x, loraA, scaling: 1, out: xa, accumulate: false)
    }
    add("adapter, += (x A) B", operations: skinny * Double(A), bytes: bytes(xa, q, q)) {
      try backend.matmulTransposed(xa, loraB, scaling: 1, out: q, accumulate: true)
    }
    add("adapter, gradient of A", operations: skinny * Double(C), bytes: bytes(x, xa)) {
      try backend.accumulateOuterProduct(xa, x, scaling: 1, gradient: loraA)
    }

    // As many rows as the head computes at a time.
    let chunk = min(T, 1024)
    let logits = try tensor(chunk, V)
    let targets = try inputs.tensor(inputs.integers(chunk, below: V))
    let losses = try tensor(1, chunk)
    add("cross-entropy and its gradient", bytes: bytes(logits, logits)) {
      try backend.crossEntropy(
        logits: logits, targets: targets, losses: losses, gradientScale: 1)
    }
    let parameters = min(wide.count, 1 << 26)
    let (weights, gradients) = (gate.elements(0..<parameters), up.elements(0..<parameters))
    let moments = (wide.elements(0..<parameters), try tensor(1, parameters))
    try backend.zero(moments.1)
    add("AdamW", bytes: 28 * Double(parameters)) {
      try backend.adamW(
        weights: weights, gradients: gradients, firstMoment: moments.0, secondMoment: moments.1,
        update: AdamWUpdate(
          learningRate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01,
          biasCorrection1: 0.1, biasCorrection2: 0.001, gradientScale: 1))
    }
    add("sums of squares", bytes: 4 * Double(parameters)) {
      _ = try backend.sumsOfSquares(gradients, blockSize: 1 << 16)
    }
    return list
  }
}
