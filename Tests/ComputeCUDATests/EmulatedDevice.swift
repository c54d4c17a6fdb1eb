import CUDAEmulation
import Compute
import ComputeCUDA
import Support
import Synchronization
import TestSupport

/// Runs the kernels on the CPU, one launch after the other. Every launch draws its own order of
/// threads and blocks.
final class EmulatedDevice: CUDADevice {
  let summary = "emulated"
  private let launches = Atomic<UInt64>(0)
  /// Names of the kernels that ran.
  private let used = Mutex<Set<String>>([])
  private let memory = Mutex((allocations: 0, held: 0, peak: 0))
  private let seed: UInt64
  /// A mistake in one kernel.
  private let fault: (kernel: String, fault: cuda_emulation_fault)?

  let library: (any ProductLibrary)?
  let identity: (device: String, driver: String)

  init(
    seed: UInt64 = 1, fault: (kernel: String, fault: cuda_emulation_fault)? = nil,
    library: (any ProductLibrary)? = nil, name: String = "emulated"
  ) {
    self.seed = seed
    self.fault = fault
    self.library = library
    identity = (name, "none")
  }

  func hasRun(_ kernel: String) -> Bool { used.withLock { $0.contains(kernel) } }

  /// How often memory was taken.
  var allocationCount: Int { memory.withLock { $0.allocations } }
  var peakByteCount: Int { memory.withLock { $0.peak } }

  func freeByteCount() throws(ComputeError) -> Int { 1 << 30 }

  func allocate(byteCount: Int) throws(ComputeError) -> Storage {
    guard let address = unsafe cuda_emulation_allocate(byteCount) else {
      throw ComputeError("no memory")
    }
    let bits = UInt(bitPattern: address)
    memory.withLock {
      $0.allocations += 1
      $0.held += byteCount
      $0.peak = max($0.peak, $0.held)
    }
    let device = self
    return unsafe Storage(deviceAddress: address, byteCount: byteCount) {
      device.memory.withLock { $0.held -= byteCount }
      unsafe cuda_emulation_free(UnsafeMutableRawPointer(bitPattern: bits), byteCount)
    }
  }

  func allocateOnHost(byteCount: Int) throws(ComputeError) -> Storage {
    try Storage(hostByteCount: byteCount)
  }

  func setZero(_ address: UnsafeMutableRawPointer, byteCount: Int) throws(ComputeError) {
    unsafe address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  func copy(
    from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, byteCount: Int,
    direction: CopyDirection
  ) throws(ComputeError) {
    unsafe destination.copyMemory(from: source, byteCount: byteCount)
  }

  func launch(
    _ kernel: String, grid: LaunchGrid, sharedByteCount: Int, _ arguments: [KernelArgument]
  ) throws(ComputeError) {
    used.withLock { _ = $0.insert(kernel) }
    let number = launches.wrappingAdd(1, ordering: .relaxed).newValue
    let threads = KernelCatalog.kernel(kernel).threadCount
    var message = [CChar](repeating: 0, count: 256)
    var planted = cuda_emulation_fault(kind: cuda_emulation_no_fault, number: 0)
    if let fault, fault.kernel == kernel { planted = fault.fault }
    let isFine = unsafe KernelArgument.withAddresses(arguments) { addresses in
      unsafe cuda_emulation_launch(
        kernel, cuda_emulation_size(x: UInt32(grid.x), y: UInt32(grid.y), z: UInt32(grid.z)),
        UInt32(threads), sharedByteCount, addresses, seed &+ number, planted, &message,
        message.count)
    }
    if !isFine {
      let text = message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      throw ComputeError(String(decoding: text, as: UTF8.self))
    }
  }

  func synchronize() throws(ComputeError) {}
  func makeCurrent() {}
  func makeSideStream() throws(ComputeError) -> any SideStream {
    throw ComputeError("the emulation has one stream")
  }
  func watch(_ exchange: any DeviceWatched) {}
  func milliseconds(_ work: () throws -> Void) throws -> Double {
    let start = SteadyClock.seconds()
    try work()
    return 1000 * (SteadyClock.seconds() - start)
  }

  let place = DevicePlace(name: "emulated", capability: 90, byteCount: 1 << 30, address: "0")
  let limits = DeviceLimits(bytesPerSecond: 1e12)
}
