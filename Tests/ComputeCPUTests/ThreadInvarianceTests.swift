import Compute
import ComputeCPU
import Glibc
import TestSupport
import Testing

/// A result has the same bits for any number of threads.
@Suite struct ThreadInvarianceTests {
  static let threadCounts = [1, 2, 3, 4, 8]

  @Test(arguments: [Precision.float32, .bfloat16])
  func threadCountNeverChangesABit(_ precision: Precision) throws {
    try expectEqualFingerprints(precision)
  }

  #if arch(x86_64)
    /// The same below AVX-512, where bfloat16 products are widened: in a process of its own, since
    /// the library reads its setting once. Correctness is checked there, too.
    @Test func alsoWithoutAVX512() async {
      await #expect(processExitsWith: .success) {
        unsafe setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1)
        let backend = CPUBackend(threadCount: 2, precision: .bfloat16)
        #expect(backend.instructionSet == "avx2" && !backend.hasNativeBFloat16)
        for precision in [Precision.float32, .bfloat16] { try expectEqualFingerprints(precision) }
        for shape in MatmulTests.shapes {
          for format in [BaseFormat.float32, .bfloat16, .nestedNF4] {
            try MatmulTests().baseProducts(shape, format)
          }
          try MatmulTests().adapterProducts(shape)
        }
      }
    }
  #endif

  /// A backend used from another thread than it was made on keeps to one library thread a tile.
  @Test func callingThreadDoesNotMatter() throws {
    let backend = CPUBackend(threadCount: 1)
    let here = try fingerprints(backend)
    // The thread is joined before anything else happens, so nothing is shared at the same time.
    final class Box: @unchecked Sendable {
      let backend: CPUBackend
      var result: [String: UInt64]?
      init(_ backend: CPUBackend) { self.backend = backend }
    }
    let box = Box(backend)
    var thread = pthread_t()
    unsafe pthread_create(
      &thread, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        let box = unsafe Unmanaged<Box>.fromOpaque(argument).takeUnretainedValue()
        box.result = try? fingerprints(box.backend)
        return nil
      }, unsafe Unmanaged.passUnretained(box).toOpaque())
    pthread_join(thread, nil)
    #expect(box.result == here)
  }
}

private func expectEqualFingerprints(_ precision: Precision) throws {
  let reference = try fingerprints(CPUBackend(threadCount: 1, precision: precision))
  #expect(reference.count > 80)
  for threads in ThreadInvarianceTests.threadCounts {
    let found = try fingerprints(CPUBackend(threadCount: threads, precision: precision))
    for (name, value) in reference {
      #expect(found[name] == value, "\(name), \(precision), \(threads) threads")
    }
  }
}

/// The bits of every kind of operation that sums, by name.
private func fingerprints(_ backend: CPUBackend) throws -> [String: UInt64] {
  let device = TestDevice(backend)
  var random = Random(77)
  var found: [String: UInt64] = [:]
  func note(_ name: String, _ tensor: Tensor) throws {
    found[name] = fingerprint(try device.floats(tensor))
  }

  // Tokens, width, outputs: whole tiles, ends of tiles, few rows, few columns, long sums.
  let shapes = [
    (1, 512, 512), (7, 300, 520), (64, 2048, 64), (130, 1000, 300), (512, 256, 1024),
    (600, 64, 770), (1100, 128, 96),
  ]
  for (T, C, N) in shapes {
    let name = "[\(T), \(C)] to \(N)"
    let x = try device.tensor(random.matrix(T, C))
    let dy = try device.tensor(random.matrix(T, N))
    for format in [BaseFormat.float32, .bfloat16, .nf4] {
      let weight = try device.base(N, C, format, &random)
      let out = try device.empty(T, N)
      try backend.linear(x, weight.matrix, bias: nil, out: out)
      try note("linear \(format) \(name)", out)
      let dx = try device.tensor(Matrix(T, C, repeating: 0.5))
      try backend.linearBackward(dy, weight.matrix, dx: dx, accumulate: true)
      try note("linearBackward \(format) \(name)", dx)
    }
  }

  // LoRA products: ranks and widths, with the small outputs that libraries split along the sum.
  let adapters = [
    (1, 512, 8), (33, 1024, 16), (300, 520, 64), (512, 1024, 8), (700, 96, 129), (1030, 300, 4),
  ]
  for (T, C, R) in adapters {
    let name = "[\(T), \(C)] rank \(R)"
    let x = try device.tensor(random.matrix(T, C))
    let a = try device.tensor(random.matrix(R, C))
    let b = try device.tensor(random.matrix(C, R))
    let down = try device.empty(T, R)
    try backend.matmulTransposed(x, a, scaling: 1, out: down, accumulate: false)
    try note("x A' \(name)", down)
    let up = try device.tensor(Matrix(T, C, repeating: 0.25))
    try backend.matmulTransposed(down, b, scaling: 2, out: up, accumulate: true)
    try note("h B' \(name)", up)
    let dDown = try device.empty(T, R)
    try backend.matmul(x, b, scaling: 2, out: dDown, accumulate: false)
    try note("dy B \(name)", dDown)
    let dUp = try device.tensor(Matrix(T, C, repeating: 0.25))
    try backend.matmul(dDown, a, scaling: 1, out: dUp, accumulate: true)
    try note("dh A \(name)", dUp)
    let dA = try device.tensor(Matrix(R, C))
    try backend.accumulateOuterProduct(dDown, x, scaling: 1, gradient: dA)
    try note("dA \(name)", dA)
    let dB = try device.tensor(Matrix(C, R))
    try backend.accumulateOuterProduct(x, down, scaling: 2, gradient: dB)
    try note("dB \(name)", dB)
  }

  for example in AttentionTests.cases {
    let tokens = example.samples.reduce(0, +)
    func rows(_ heads: Int) throws -> Tensor {
      try device.tensor(random.matrix(tokens, heads * example.headWidth))
    }
    func space(_ heads: Int) throws -> Tensor {
      try device.empty(tokens, heads * example.headWidth)
    }
    let (H, G) = (example.queryHeads, example.keyValueHeads)
    let (q, k, v, dout) = (try rows(H), try rows(G), try rows(G), try rows(H))
    let (out, dq, dk, dv) = (try space(H), try space(H), try space(G), try space(G))
    let logs = try device.empty(H, tokens)
    try backend.attention(q: q, k: k, v: v, shape: example.shape, out: out, logSumExp: logs)
    try backend.attentionBackward(
      dout, q: q, k: k, v: v, out: out, logSumExp: logs, shape: example.shape, dq: dq, dk: dk,
      dv: dv)
    for (part, tensor) in [("out", out), ("dq", dq), ("dk", dk), ("dv", dv), ("logs", logs)] {
      try note("attention \(part), \(example.name)", tensor)
    }
  }

  let (T, E, K) = (900, 8, 2)
  func integers(_ rows: Int, _ columns: Int) throws -> Tensor {
    try device.tensor([Int32](repeating: 0, count: rows * columns), rows: rows)
  }
  let routing = Routing(
    probabilities: try device.empty(T, E), experts: try integers(T, K),
    weights: try device.empty(T, K), tokenOfRow: try integers(1, T * K),
    rowOfToken: try integers(T, K), probabilitySums: try device.empty(1, E))
  _ = try backend.route(
    try device.tensor(random.matrix(T, E)), normalize: true, routing: routing)
  try note("route weights", routing.weights)
  try note("route sums", routing.probabilitySums)
  let y = try device.tensor(random.matrix(T * K, 70))
  let combined = try device.tensor(Matrix(T, 70))
  try backend.combineExperts(y, routing: routing, out: combined)
  try note("combine", combined)

  let logits = try device.tensor(random.matrix(19, 5003, scale: 3))
  let losses = try device.empty(1, 19)
  try backend.crossEntropy(
    logits: logits, targets: try device.tensor(random.integers(19, below: 5003)), losses: losses,
    gradientScale: 0.5)
  try note("loss", losses)
  try note("loss gradient", logits)
  let sums = try backend.sumsOfSquares(
    try device.tensor(random.matrix(1, 70_001)), blockSize: 4096)
  found["sums"] = sums.reduce(0) { ($0 &* 31) ^ $1.bitPattern }
  return found
}
