internal import CCUDA
package import Compute

/// What the backend needs of a GPU: memory, copies and launches, in the order they are asked for.
///
/// The driver is one implementation; tests have another, which runs the same kernels on the CPU.
package protocol CUDADevice: AnyObject, Sendable {
  /// One line: device, libraries and versions; recorded with every run.
  var summary: String { get }
  /// Bytes of memory that are free now.
  func freeByteCount() throws(ComputeError) -> Int
  /// The most bytes of ``allocate(byteCount:)`` that there were at one time.
  var peakByteCount: Int { get }
  /// Zeroed memory.
  func allocate(byteCount: Int) throws(ComputeError) -> Storage
  /// Memory of the host from and to which the device copies as fast as it can.
  func allocateOnHost(byteCount: Int) throws(ComputeError) -> Storage
  /// Sets bytes to zero.
  func setZero(_ address: UnsafeMutableRawPointer, byteCount: Int) throws(ComputeError)
  /// Copies bytes; one that touches the host's memory is done when the call returns.
  func copy(
    from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, byteCount: Int,
    direction: CopyDirection) throws(ComputeError)
  /// Starts a kernel of Sources/CCUDA/kernels; its threads are in ``KernelCatalog``.
  func launch(
    _ kernel: String, grid: LaunchGrid, sharedByteCount: Int, _ arguments: [KernelArgument])
    throws(ComputeError)
  /// Multiplies matrices, where there is one; own kernels do where there is none.
  var library: (any ProductLibrary)? { get }
  /// The GPU and its driver, for choices that depend on them.
  var identity: (device: String, driver: String) { get }
  /// Waits for everything that was started.
  func synchronize() throws(ComputeError)
  /// Makes the device that of the calling thread, for libraries that ask for it.
  func makeCurrent()
  /// A queue for exchanges.
  func makeSideStream() throws(ComputeError) -> any SideStream
  /// Asks something whether it has failed whenever the host waits for the device, as long as it
  /// lives.
  func watch(_ exchange: any DeviceWatched)
  /// How long the device works on what `work` starts.
  func milliseconds(_ work: () throws -> Void) throws -> Double
  /// What the hardware can do at most.
  var limits: DeviceLimits { get }
  /// Which GPU it is.
  var place: DevicePlace { get }
}

/// The most that a device can do, by its own data; nil where that is not known.
package struct DeviceLimits: Sendable, Equatable {
  /// Of its memory.
  package var bytesPerSecond: Double?
  /// Products and sums of bf16 numbers on the tensor cores, at the highest clock.
  package var operationsPerSecond: Double?

  package init(bytesPerSecond: Double? = nil, operationsPerSecond: Double? = nil) {
    self.bytesPerSecond = bytesPerSecond
    self.operationsPerSecond = operationsPerSecond
  }

  /// From what the driver says.
  ///
  /// - Parameters:
  ///   - capability: compute capability, 90 for 9.0.
  ///   - multiprocessors: of the GPU.
  ///   - clock: of these at most, in kHz.
  ///   - memoryClock: in kHz; data move at both edges.
  ///   - busWidth: of the memory, in bits.
  package init(
    capability: Int, multiprocessors: Int, clock: Int, memoryClock: Int, busWidth: Int
  ) {
    let rate = 2 * Double(memoryClock) * 1000 * Double(busWidth) / 8
    bytesPerSecond = rate > 0 ? rate : nil
    // Per multiprocessor and clock. Those of 8.6 and 8.9 differ between products of one capability.
    // Source: NVIDIA's white papers of A100, H100 and B200: 312, 989 and 2250 TFLOP/s without sparsity.
    let perClock: [Int: Double] = [80: 2048, 90: 4096, 100: 8192]
    let peak = perClock[capability].map { $0 * Double(multiprocessors) * Double(clock) * 1000 }
    operationsPerSecond = (peak ?? 0) > 0 ? peak : nil
  }
}

/// Which side of a copy is the host's.
package enum CopyDirection: Sendable {
  case toDevice, toHost, onDevice
}

/// Blocks of a launch.
package struct LaunchGrid: Sendable, Equatable {
  package var x: Int
  package var y: Int
  package var z: Int

  package init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }
}

/// One argument of a kernel: its bytes as the kernel's parameter has them.
@safe package struct KernelArgument: Sendable {
  private var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)

  package init<Value: BitwiseCopyable>(_ value: Value) {
    precondition(MemoryLayout<Value>.size <= MemoryLayout.size(ofValue: words))
    unsafe withUnsafeMutableBytes(of: &words) {
      unsafe $0.storeBytes(of: value, as: Value.self)
    }
  }

  /// The first byte of a tensor.
  package init(_ tensor: Tensor) { unsafe self.init(tensor.address) }

  /// Calls `body` with the addresses of the arguments' bytes.
  package static func withAddresses<Result>(
    _ arguments: [KernelArgument],
    _ body: (UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> Result
  ) -> Result {
    var copies = arguments
    return unsafe copies.withUnsafeMutableBytes { bytes in
      let addresses = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(
        capacity: max(arguments.count, 1))
      defer { unsafe addresses.deallocate() }
      for index in arguments.indices {
        unsafe addresses[index] = bytes.baseAddress.map {
          unsafe $0 + index * MemoryLayout<KernelArgument>.stride
        }
      }
      return unsafe body(addresses)
    }
  }
}
