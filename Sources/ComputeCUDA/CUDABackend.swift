internal import CCUDA
package import Compute
internal import Synchronization

/// The backend on one NVIDIA GPU: own kernels, and cuBLASLt for large products where it is found.
///
/// Activations are float32. With ``Precision/bfloat16`` the operands of products with base weights
/// and of attention are rounded to bfloat16 and summed in float32.
package final class CUDABackend: Backend {
  package let activationType = ElementType.float32
  package let precision: Precision
  package let hasHostMemory = false
  package let device: any CUDADevice
  let workspace: CUDAWorkspace
  /// The algorithms of the device's library; nil where own kernels multiply.
  let products: ProductTable?
  /// The blocks of the last attention, whose samples are those of the next layer's.
  let attentionBlocks = Mutex<AttentionBlocks?>(nil)
  /// Values and bounds of the 8-bit dynamic code, one after the other.
  let dynamicCode: Tensor

  /// - Parameters:
  ///   - device: the GPU.
  ///   - precision: of the operands of products with base weights and of attention.
  /// - Throws: ``ComputeError`` when the device fails.
  package init(device: any CUDADevice, precision: Precision) throws(ComputeError) {
    self.device = device
    self.precision = precision
    workspace = CUDAWorkspace(device)
    products = device.library.map { ProductTable($0, Self.noChoices(device)) }
    let tables = DynamicCode.values + DynamicCode.bounds
    dynamicCode = Tensor(
      storage: try device.allocate(byteCount: 4 * tables.count), columns: tables.count)
    try upload(tables, to: dynamicCode)
  }

  /// Bytes of the parts of its workspace, for tests.
  package var workspaceByteCounts: [String: Int] {
    Dictionary(uniqueKeysWithValues: workspace.byteCounts.map { ($0.key.rawValue, $0.value) })
  }

  /// What the hardware can do at most.
  package var limits: DeviceLimits { device.limits }

  /// How long the device works on what `work` starts.
  package func milliseconds(_ work: () throws -> Void) throws -> Double {
    try device.milliseconds(work)
  }

  package var summary: String { "\(device.summary), \(precision.rawValue)" }

  // MARK: Memory

  package func freeByteCount() throws(ComputeError) -> Int? { try device.freeByteCount() }
  package var memoryName: String? { device.place.text }
  package var peakByteCount: Int? { device.peakByteCount }

  package func makeStorage(byteCount: Int) throws(ComputeError) -> Storage {
    try device.allocate(byteCount: max(byteCount, 1))
  }

  package func makeHostStorage(byteCount: Int) throws(ComputeError) -> Storage {
    try device.allocateOnHost(byteCount: max(byteCount, 1))
  }

  package func upload(_ values: [Float], to tensor: Tensor) throws(ComputeError) {
    precondition(values.count == tensor.count && tensor.elementType == .float32)
    try uploadElements(values, to: tensor)
  }

  package func upload(_ values: [Int32], to tensor: Tensor) throws(ComputeError) {
    precondition(values.count == tensor.count && tensor.elementType == .int32)
    try uploadElements(values, to: tensor)
  }

  package func download(_ tensor: Tensor) throws(ComputeError) -> [Float] {
    precondition(tensor.elementType == .float32)
    return try downloadElements(tensor, zero: 0)
  }

  package func downloadInt32(_ tensor: Tensor) throws(ComputeError) -> [Int32] {
    precondition(tensor.elementType == .int32)
    return try downloadElements(tensor, zero: 0)
  }

  func uploadElements<Element: BitwiseCopyable>(_ values: [Element], to tensor: Tensor)
    throws(ComputeError)
  {
    if values.isEmpty { return }
    // The closures of the standard library do not carry typed errors through, so the result does.
    let outcome: Result<Void, ComputeError> = unsafe values.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return .success(()) }
      do throws(ComputeError) {
        return .success(
          try unsafe device.copy(
            from: base, to: tensor.address, byteCount: bytes.count, direction: .toDevice))
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
  }

  /// As many elements as the tensor has bytes for.
  func downloadElements<Element: BitwiseCopyable>(_ tensor: Tensor, zero: Element)
    throws(ComputeError) -> [Element]
  {
    var values = [Element](
      repeating: zero, count: tensor.byteCount / MemoryLayout<Element>.stride)
    if values.isEmpty { return values }
    let outcome: Result<Void, ComputeError> = unsafe values.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return .success(()) }
      do throws(ComputeError) {
        return .success(
          try unsafe device.copy(
            from: tensor.address, to: base, byteCount: bytes.count, direction: .toHost))
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
    return values
  }

  package func zero(_ tensor: Tensor) throws(ComputeError) {
    if tensor.count == 0 { return }
    try unsafe device.setZero(tensor.address, byteCount: tensor.byteCount)
  }

  package func synchronize() throws(ComputeError) { try device.synchronize() }

  package func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {
    precondition(source.elementType == destination.elementType && source.count == destination.count)
    if source.count == 0 { return }
    let direction: CopyDirection
    switch (source.storage.isOnHost, destination.storage.isOnHost) {
    case (true, false): direction = .toDevice
    case (false, true): direction = .toHost
    case (false, false): direction = .onDevice
    case (true, true):
      unsafe destination.address.copyMemory(from: source.address, byteCount: source.byteCount)
      return
    }
    try unsafe device.copy(
      from: source.address, to: destination.address, byteCount: source.byteCount,
      direction: direction)
  }

  // MARK: Launches

  /// Starts a kernel over blocks that are known.
  func launch(
    _ kernel: String, _ grid: LaunchGrid, sharedByteCount: Int = 0, _ arguments: [KernelArgument]
  ) throws(ComputeError) {
    if grid.x == 0 || grid.y == 0 || grid.z == 0 { return }
    try device.launch(kernel, grid: grid, sharedByteCount: sharedByteCount, arguments)
  }

  /// Starts a kernel whose threads share `count` items, each some thousand times if need be.
  func launch(_ kernel: String, items count: Int, _ arguments: [KernelArgument])
    throws(ComputeError)
  {
    let threads = KernelCatalog.kernel(kernel).threadCount
    try launch(kernel, LaunchGrid(min((count + threads - 1) / threads, 1 << 14)), arguments)
  }
}
