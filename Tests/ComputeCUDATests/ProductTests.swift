import Compute
import ComputeCPU
import ComputeCUDA
import Model
import Support
import TestSupport
import Testing

/// Algorithms of products: chosen once, the same on all ranks, kept for a run that goes on.
@Suite struct ProductTests {
  private static let shape = ProductShape(
    columns: 8, depth: 12, strideA: 12, strideB: 12, isBFloat16: false, transposesB: true)

  private func backend(
    _ library: RecordingLibrary, _ precision: Precision = .float32, name: String = "GPU"
  ) throws -> CUDABackend {
    try CUDABackend(device: EmulatedDevice(library: library, name: name), precision: precision)
  }

  /// Computes `[rows, 12] [8, 12]^T`.
  @discardableResult
  private func multiply(_ backend: CUDABackend, rows: Int) throws -> Matrix {
    let device = TestDevice(backend)
    let x = try device.tensor(Matrix(rows, 12, repeating: 0.5))
    let out = try device.empty(rows, 8)
    try backend.matmulTransposed(
      x, try device.tensor(Matrix(8, 12, repeating: 2)), scaling: 1, out: out, accumulate: false)
    return try device.matrix(out)
  }

  // MARK: One choice for all ranks

  static let cases = [
    StepCase(model: "mixtral-router-head", dropout: 0.2, loraRank: 4),
    StepCase(
      model: "mixtral-experts", quantization: .init(isNF4: true), precision: .bfloat16,
      retention: .inputs, loraRank: 4),
    StepCase(model: "qwen2-tied", precision: .bfloat16, loraRank: 8),
  ]

  /// Two ranks whose libraries would choose otherwise take the choices of rank 0, compute the same
  /// bits, and miss none: the plan knows every product of a step.
  @Test(arguments: cases) func ranksTakeTheChoicesOfRank0(_ example: StepCase) throws {
    let libraries = [RecordingLibrary(flavor: 1), RecordingLibrary(flavor: 2)]
    var text = ""
    let weights = try libraries.map { library in
      let backend = try backend(library, example.precision)
      let meter = CUDAWorkspaceMeter(backend)
      let run = try StepRun(example, backend, meter: meter)
      if text.isEmpty {
        text = try #require(try backend.chooseProducts(meter.products, keeping: nil)).text
      }
      try backend.adoptProducts(ProductChoices(Array(text.utf8), at: "rank 0"))
      let proposals = library.proposalCount
      _ = try (run.next(), run.next())
      #expect(library.proposalCount == proposals)
      return try run.weightValues()
    }
    #expect(weights[0].map(\.bitPattern) == weights[1].map(\.bitPattern))
    #expect(libraries[1].proposalCount == 0)
    #expect(libraries[0].uses == libraries[1].uses)
    #expect(libraries[0].uses.count > 20)
    #expect(libraries[0].uses.allSatisfy { $0.algorithm[0] == 1 && $0.algorithm[1] == 0 })

    // And they are right.
    let cpu = try StepRun(
      example, CPUBackend(threadCount: 1, precision: example.precision))
    _ = try (cpu.next(), cpu.next())
    let drift = normalizedError(
      weights[0].map(Double.init), try cpu.weightValues().map(Double.init)
    ).squareRoot()
    #expect(drift < (example.precision == .float32 ? 1e-4 : 5e-2), "weights differ by \(drift)")
  }

  @Test func ranksThatDifferAreNamed() throws {
    let choices = try #require(
      try backend(RecordingLibrary(), name: "GPU A").chooseProducts([], keeping: nil))
    for (other, words) in [
      (
        try backend(RecordingLibrary(), name: "GPU B"),
        "here are GPU B with recording library 1.0.0"
      ),
      (try backend(RecordingLibrary(version: "1.0.1"), name: "GPU A"), "recording library 1.0.1"),
      (
        try CUDABackend(device: EmulatedDevice(name: "GPU A"), precision: .float32),
        "here are GPU A with own kernels"
      ),
    ] {
      #expect {
        try other.adoptProducts(choices)
      } throws: {
        "\($0)".contains("on GPU A with recording library 1.0.0") && "\($0)".contains(words)
      }
    }
  }

  // MARK: Rows

  @Test func rowsAreRoundedUpToPowersOfTwo() {
    #expect(
      [0, 1, 16, 17, 32, 33, 4097].map(ProductChoices.bucket) == [16, 16, 16, 32, 32, 64, 8192])
    let sizes = [0, 16, 100].map { ProductSizes(Self.shape, largestRowCount: $0) }
    #expect(ProductChoices.keys(sizes).map(\.rows) == [16, 32, 64, 128])
    #expect(ProductChoices.keys(sizes.reversed()) == ProductChoices.keys(sizes))
  }

  /// One choice serves all numbers of rows of a bucket.
  @Test func rowsOfABucketHaveOneAlgorithm() throws {
    let library = RecordingLibrary()
    let backend = try backend(library)
    for rows in 17...32 {
      #expect(try multiply(backend, rows: rows) == Matrix(rows, 8, repeating: 12))
    }
    #expect(library.proposalCount == 1)
    try multiply(backend, rows: 33)
    #expect(library.proposalCount == 2)
  }

  /// An algorithm that does not take a number of rows gives way to the next; when none does, it is told.
  @Test func algorithmsThatRefuseRows() throws {
    let library = RecordingLibrary { algorithm, rows in
      rows == 5 && algorithm[1] < 2 || rows == 6
    }
    let backend = try backend(library)
    try multiply(backend, rows: 4)
    try multiply(backend, rows: 5)
    #expect(
      library.uses.sorted { $0.rows < $1.rows }.map { [$0.rows, Int($0.algorithm[1])] }
        == [[4, 0], [5, 2]])
    #expect {
      try multiply(backend, rows: 6)
    } throws: {
      "\($0)".contains(
        "recording library 1.0.0: none of the 4 algorithms for products [rows, 12] by [12, 8] of "
          + "float32 with up to 16 rows takes 6 rows; ACCELERATE_CUBLASLT_LIB=none")
    }
  }

  /// Products whose rows do not begin at multiples of 16 bytes are the own kernels'.
  @Test func unalignedRows() throws {
    let library = RecordingLibrary()
    let device = TestDevice(try backend(library))
    let (x, matrix) = (Matrix(3, 6, repeating: 1), Matrix(8, 6, repeating: 1))
    let out = try device.empty(3, 8)
    try device.backend.matmulTransposed(
      try device.tensor(x), try device.tensor(matrix), scaling: 1, out: out, accumulate: false)
    #expect(try device.matrix(out) == Matrix(3, 8, repeating: 6))
    #expect(library.uses.isEmpty)
  }

  // MARK: A run that goes on

  @Test func choicesOfAnEqualDeviceAreKept() throws {
    let before = try #require(
      try backend(RecordingLibrary(flavor: 1)).chooseProducts(
        [ProductSizes(Self.shape, largestRowCount: 20)], keeping: nil))
    let sizes = [ProductSizes(Self.shape, largestRowCount: 40)]
    let text = Array(before.text.utf8)
    let known = try ProductChoices(text, at: "checkpoint")
    #expect(known == before)

    // Products that are new are chosen by the library there is.
    let resumed = try #require(
      try backend(RecordingLibrary(flavor: 2)).chooseProducts(sizes, keeping: known))
    let flavors = ProductChoices.keys(sizes).map { resumed.algorithms[$0]?[0][0] }
    #expect(flavors == [1, 1, 2])

    // On another device, or with another library, all are.
    for other in [
      try backend(RecordingLibrary(flavor: 2), name: "other GPU"),
      try backend(RecordingLibrary(version: "2.0.0", flavor: 2)),
    ] {
      let choices = try #require(try other.chooseProducts(sizes, keeping: known))
      #expect(!choices.hasSameOrigin(as: known))
      #expect(choices.algorithms.values.allSatisfy { $0.allSatisfy { $0[0] == 2 } })
    }
  }

  @Test func algorithmsThatSplitSumsAreRefused() throws {
    let backend = try backend(RecordingLibrary())
    let sizes = [ProductSizes(Self.shape, largestRowCount: 1)]
    let choices = try #require(try backend.chooseProducts(sizes, keeping: nil))
    let key = ProductChoices.Key(Self.shape, rows: 1)
    for (algorithm, words) in [
      ([0, 0, 1] + [UInt8](repeating: 0, count: 61), "it splits sums"), ([1, 2], "no algorithm"),
    ] {
      var wrong = choices
      wrong.algorithms[key] = [algorithm]
      #expect {
        try backend.adoptProducts(wrong)
      } throws: {
        "\($0)".contains("cannot be used: ") && "\($0)".contains(words)
      }
    }
  }

  @Test func productsThatWereNotChosenAreTold() throws {
    let backend = try backend(RecordingLibrary())
    let sizes = [ProductSizes(Self.shape, largestRowCount: 16)]
    try backend.adoptProducts(
      try #require(try backend.chooseProducts(sizes, keeping: nil)))
    try multiply(backend, rows: 16)
    #expect {
      try multiply(backend, rows: 17)
    } throws: {
      "\($0)".contains("no algorithm was chosen before the first step for products [rows, 12]")
    }
  }

  // MARK: The file

  @Test(arguments: [
    "", "[]", "{}", #"{"device": "a", "library": "b", "driver": "c"}"#,
    #"{"device": "a", "library": "b", "driver": "c", "products": [3]}"#,
    #"{"device": "a", "library": "b", "driver": "c", "products": [{"type": "bf16", "transposed": true, "columns": 8, "depth": 8, "strides": [8, 8], "rows": 17, "algorithms": []}]}"#,
    #"{"device": "a", "library": "b", "driver": "c", "products": [{"type": "bf16", "transposed": true, "columns": -8, "depth": 8, "strides": [8, 8], "rows": 16, "algorithms": []}]}"#,
    #"{"device": "a", "library": "b", "driver": "c", "products": [{"type": "bf16", "transposed": true, "columns": 8, "depth": 8, "strides": [8, 8], "rows": 4611686018427387904, "algorithms": []}]}"#,
    #"{"device": "a", "library": "b", "driver": "c", "products": [{"type": "bf16", "transposed": true, "columns": 8, "depth": 8, "strides": [8, 8], "rows": 16, "algorithms": ["0g"]}]}"#,
    #"{"device": "a", "library": "b", "driver": "c", "products": [{"type": "bf16", "transposed": true, "columns": 8, "depth": 8, "strides": [8, 8], "rows": 16, "algorithms": ["012"]}]}"#,
  ])
  func damagedFile(_ text: String) {
    #expect {
      try ProductChoices(Array(text.utf8), at: "run/products.json")
    } throws: {
      "\($0)".contains("run/products.json: ") && "\($0)".contains("fix: delete the file")
    }
  }
}
