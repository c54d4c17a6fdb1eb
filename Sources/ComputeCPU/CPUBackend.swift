internal import COneDNN
package import Compute
internal import Synchronization

/// The backend on the cores of one machine: oneDNN for matrix products, SIMD Swift for the rest.
///
/// Activations are float32. With ``Precision/bfloat16`` the operands of products with base weights
/// are rounded to bfloat16 and summed in float32.
package final class CPUBackend: Backend, Sendable {
  package let activationType = ElementType.float32
  package let precision: Precision
  package let threadCount: Int
  /// Whether bfloat16 products run natively; otherwise rounded operands are multiplied as float32.
  package let hasNativeBFloat16: Bool
  let pool: ThreadPool
  let scratch: WorkerScratch
  /// The rounded left operand of the product that is running.
  let operandBuffer = WorkerScratch(workerCount: 1)
  /// Whether the operations continue texts; see ``beginPass(isGenerating:)``.
  let isGenerating = Atomic(false)

  /// - Parameters:
  ///   - threadCount: threads that share the tiles of an operation, the caller included.
  ///   - precision: of the operands of products with base weights.
  package init(threadCount: Int, precision: Precision = .float32) {
    self.threadCount = threadCount
    self.precision = precision
    precondition(
      onednn_has_one_thread() != 0,
      "oneDNN \(Self.libraryVersion) does not keep to one thread a call; use a build on OpenMP")
    hasNativeBFloat16 = onednn_has_bf16() != 0
    pool = ThreadPool(threadCount: threadCount)
    scratch = WorkerScratch(workerCount: threadCount)
  }

  package var summary: String {
    "cpu, \(threadCount) \(threadCount == 1 ? "thread" : "threads"), oneDNN \(Self.libraryVersion), "
      + "\(instructionSet), \(precision.rawValue)"
  }

  /// The instruction set that matrix products use, for example `avx512_core_bf16`.
  package var instructionSet: String { Self.instructionSet }

  /// The instruction set that matrix products of this process use.
  package static var instructionSet: String { unsafe String(cString: onednn_isa_name()) }

  /// The version of oneDNN.
  package static var libraryVersion: String {
    let version = onednn_version()
    return "\(version / 10000).\(version / 100 % 100).\(version % 100)"
  }

  package func beginPass(isGenerating: Bool) {
    self.isGenerating.store(isGenerating, ordering: .relaxed)
  }

  package func synchronize() throws(ComputeError) {}

  package func makeStorage(byteCount: Int) throws(ComputeError) -> Storage {
    try Storage(hostByteCount: byteCount)
  }

  package func upload(_ values: [Float], to tensor: Tensor) throws(ComputeError) {
    precondition(values.count == tensor.count, "\(values.count) values for \(tensor.count)")
    unsafe values.withUnsafeBufferPointer {
      if let base = $0.baseAddress { unsafe tensor.floats.update(from: base, count: values.count) }
    }
  }

  package func upload(_ values: [Int32], to tensor: Tensor) throws(ComputeError) {
    precondition(values.count == tensor.count, "\(values.count) values for \(tensor.count)")
    unsafe values.withUnsafeBufferPointer {
      if let base = $0.baseAddress { unsafe tensor.int32s.update(from: base, count: values.count) }
    }
  }

  package func download(_ tensor: Tensor) throws(ComputeError) -> [Float] {
    unsafe Array(UnsafeBufferPointer(start: tensor.floats, count: tensor.count))
  }

  package func downloadInt32(_ tensor: Tensor) throws(ComputeError) -> [Int32] {
    unsafe Array(UnsafeBufferPointer(start: tensor.int32s, count: tensor.count))
  }

  package func zero(_ tensor: Tensor) throws(ComputeError) {
    let address = unsafe SendableRawPointer(tensor.address)
    forEachChunk(tensor.byteCount, of: 1 << 20) { range in
      unsafe (address.value + range.lowerBound).initializeMemory(
        as: UInt8.self, repeating: 0, count: range.count)
    }
  }

  package func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {
    precondition(source.elementType == destination.elementType && source.count == destination.count)
    let from = unsafe SendableRawPointer(source.address)
    let to = unsafe SendableRawPointer(destination.address)
    forEachChunk(source.byteCount, of: 1 << 20) { range in
      unsafe (to.value + range.lowerBound).copyMemory(
        from: from.value + range.lowerBound, byteCount: range.count)
    }
  }

  // MARK: Tiling

  /// Calls `body` with consecutive ranges of `chunk` that cover 0 ..< count.
  func forEachChunk(_ count: Int, of chunk: Int, _ body: (Range<Int>) -> Void) {
    pool.forEachTile((count + chunk - 1) / chunk) { tile, _ in
      body(tile * chunk..<min(count, (tile + 1) * chunk))
    }
  }

  /// Calls `body` with ranges of rows that hold about 16k elements each.
  func forEachRowChunk(_ rows: Int, columns: Int, _ body: (Range<Int>) -> Void) {
    forEachChunk(rows, of: max(1, 16384 / max(columns, 1)), body)
  }
}

/// A pointer that tiles on several threads may use; each tile touches its own part.
@unsafe struct SendableRawPointer: @unchecked Sendable {
  let value: UnsafeMutableRawPointer
  init(_ value: UnsafeMutableRawPointer) { unsafe self.value = unsafe value }
}

/// Memory that each worker keeps for its tiles: grown when first needed, then reused.
///
/// `@unchecked Sendable` is sound because a worker touches its own entry alone.
@safe final class WorkerScratch: @unchecked Sendable {
  private let blocks: UnsafeMutablePointer<UnsafeMutableRawBufferPointer>
  private let workerCount: Int

  init(workerCount: Int) {
    self.workerCount = workerCount
    unsafe blocks = .allocate(capacity: workerCount)
    unsafe blocks.initialize(
      repeating: UnsafeMutableRawBufferPointer(start: nil, count: 0), count: workerCount)
  }

  deinit {
    for worker in 0..<workerCount { unsafe blocks[worker].deallocate() }
    unsafe blocks.deallocate()
  }

  /// At least `byteCount` bytes, aligned to 64; undefined content, valid until the worker's
  /// next call.
  func bytes(_ byteCount: Int, worker: Int) -> UnsafeMutableRawPointer {
    if let address = unsafe blocks[worker].baseAddress, unsafe blocks[worker].count >= byteCount {
      return unsafe address
    }
    unsafe blocks[worker].deallocate()
    let size = max(byteCount, 1 << 16)
    let address = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
    unsafe blocks[worker] = UnsafeMutableRawBufferPointer(start: address, count: size)
    return unsafe address
  }
}
