internal import CCUDA
package import Compute
package import Support
internal import Synchronization

/// A GPU through NVIDIA's driver.
///
/// `@unchecked Sendable` is sound because the handles never change after `init`, the driver and
/// cuBLASLt may be called from any thread, and what changes later is behind a `Mutex`.
@safe package final class DriverDevice: CUDADevice, @unchecked Sendable {
  package let summary: String
  package let totalByteCount: Int
  package let memoryName: String
  package let limits: DeviceLimits
  private let context: UnsafeMutableRawPointer
  private let stream: UnsafeMutableRawPointer
  private let functions: [String: UnsafeMutableRawPointer]
  /// Bytes that are held, and the most that were.
  private let memory = Mutex((held: 0, peak: 0))
  package var peakByteCount: Int { memory.withLock { $0.peak } }
  /// The largest dynamic shared memory that each kernel was allowed so far.
  private let sharedByteCounts = Mutex<[String: Int]>([:])
  package let library: (any ProductLibrary)?
  package let identity: (device: String, driver: String)

  /// Dynamic shared memory that needs no permission.
  private static let freeSharedByteCount = 48 * 1024
  /// CUdevice_attribute: compute capability.
  private static let (majorAttribute, minorAttribute): (Int32, Int32) = (75, 76)

  /// Takes a GPU: opens the libraries, compiles or loads the kernels.
  ///
  /// - Parameters:
  ///   - localRank: number of this process on its host; processes beyond the number of GPUs share.
  ///   - search: where libraries are looked for.
  ///   - cacheDirectory: for compiled kernels.
  ///   - didMove: called now and then; compiling may take long on a busy machine.
  /// - Throws: ``UserError`` that says what is missing or too old.
  package init(
    localRank: Int, search: LibrarySearch, cacheDirectory: String, didMove: () -> Void = {}
  ) throws(UserError) {
    let driver = try CUDADriver(search)
    guard driver.deviceCount > 0 else {
      throw UserError(
        .system, at: "--device", "cuda, but the driver sees no GPU",
        fix: "give --device cpu, or run where `nvidia-smi` lists a GPU")
    }
    let ordinal = localRank % driver.deviceCount
    let gpu = try driver.description(Int32(ordinal))
    guard gpu.capability >= 80 else {
      throw UserError(
        .system, at: "--device",
        "cuda, but \(gpu.name) has compute capability \(gpu.capability / 10).\(gpu.capability % 10), "
          + "and the kernels need 8.0",
        fix: "use an A100, an H100 or a newer GPU, or give --device cpu")
    }
    let compiler = try KernelCompiler(search)
    // Code for a GPU runs with every driver of the compiler's major version, or of a newer one.
    guard driver.version / 1000 >= compiler.version.major else {
      throw UserError(
        .system, at: driver.path,
        "the driver supports CUDA \(driver.versionText), but NVRTC \(compiler.path) is of CUDA "
          + "\(compiler.version.major).\(compiler.version.minor)",
        fix:
          "update the driver, or install NVRTC of CUDA \(driver.version / 1000) and name its folder "
          + "in \(LibrarySearch.foldersVariable)")
    }

    var context: UnsafeMutableRawPointer?
    try unsafe Self.require(ccuda_retain_context(Int32(ordinal), &context), "taking the GPU")
    var stream: UnsafeMutableRawPointer?
    try unsafe Self.require(ccuda_create_stream(&stream), "making a stream")
    guard let context = unsafe context, let stream = unsafe stream else {
      throw UserError(.system, at: driver.path, "the driver gave no context")
    }
    unsafe self.context = context
    unsafe self.stream = stream
    totalByteCount = gpu.byteCount
    memoryName =
      "GPU \(ordinal)" + (driver.pciAddress(Int32(ordinal)).map { " at \($0)" } ?? "")
    limits = driver.limits(Int32(ordinal), capability: gpu.capability)

    var functions: [String: UnsafeMutableRawPointer] = unsafe [:]
    let cache = KernelCache(directory: "\(cacheDirectory)/kernels")
    for source in KernelCatalog.sources {
      let cubin = try cache.cubin(
        source, architecture: "sm_\(gpu.capability)", compiler: compiler)
      didMove()
      var module: UnsafeMutableRawPointer?
      try unsafe Self.require(ccuda_load_module(cubin, &module), "loading \(source.name)")
      for kernel in KernelCatalog.kernels.values where kernel.file == source.name {
        var function: UnsafeMutableRawPointer?
        try unsafe Self.require(
          ccuda_find_function(module, kernel.name, &function), "finding \(kernel.name)")
        unsafe functions[kernel.name] = function
      }
    }
    unsafe self.functions = unsafe functions
    library = try unsafe CuBLASLt(search, context: context, stream: stream)
    identity = (
      "\(gpu.name), sm_\(gpu.capability), \(gpu.multiprocessorCount) multiprocessors",
      "for CUDA \(driver.versionText)"
    )
    summary =
      "cuda, \(gpu.name) (sm_\(gpu.capability)), driver for CUDA \(driver.versionText), NVRTC "
      + "\(compiler.version.major).\(compiler.version.minor), "
      + (library?.name ?? "products by own kernels")
  }

  private static func require(_ code: Int32, _ work: String) throws(UserError) {
    guard code != 0 else { return }
    let text = unsafe text { unsafe ccuda_driver_error(code, $0, $1) }
    throw UserError(.system, at: "CUDA", "\(work) failed: \(text)")
  }

  /// Throws what the driver says; errors of kernels come with a later call.
  private func require(_ code: Int32, _ work: String) throws(ComputeError) {
    guard code != 0 else { return }
    let text = unsafe text { unsafe ccuda_driver_error(code, $0, $1) }
    throw ComputeError("\(work) failed on the GPU: \(text)")
  }

  // MARK: Memory

  /// Bytes that are free now.
  package func freeByteCount() throws(ComputeError) -> Int {
    var (free, total) = (0, 0)
    unsafe ccuda_set_context(context)
    try unsafe require(ccuda_free_memory(&free, &total), "asking for free memory")
    return free
  }

  package func allocate(byteCount: Int) throws(ComputeError) -> Storage {
    unsafe ccuda_set_context(context)
    var address: UnsafeMutableRawPointer?
    let code = unsafe ccuda_allocate(&address, byteCount)
    if code == 2 {  // CUDA_ERROR_OUT_OF_MEMORY
      throw ComputeError(
        "the GPU is out of memory: \(byteCount) bytes were asked for, \(try freeByteCount()) of "
          + "\(totalByteCount) are free; smaller packs (--pack-tokens), --gradient-checkpointing on or "
          + "--quant nf4 take less", isOutOfMemory: true)
    }
    try require(code, "allocating \(byteCount) bytes")
    guard let address = unsafe address else { throw ComputeError("the GPU gave no memory") }
    try unsafe require(ccuda_set_zero(address, byteCount, stream), "clearing memory")
    memory.withLock {
      $0.held += byteCount
      $0.peak = max($0.peak, $0.held)
    }
    // Bits of an address, which a closure may take along.
    let bits = UInt(bitPattern: address)
    let device = self
    return unsafe Storage(deviceAddress: address, byteCount: byteCount) {
      device.memory.withLock { $0.held -= byteCount }
      unsafe ccuda_set_context(device.context)
      unsafe ccuda_free(UnsafeMutableRawPointer(bitPattern: bits))
    }
  }

  package func setZero(_ address: UnsafeMutableRawPointer, byteCount: Int) throws(ComputeError) {
    unsafe ccuda_set_context(context)
    try unsafe require(ccuda_set_zero(address, byteCount, stream), "clearing memory")
  }

  package func copy(
    from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, byteCount: Int,
    direction: CopyDirection
  ) throws(ComputeError) {
    unsafe ccuda_set_context(context)
    switch direction {
    case .toDevice:
      try unsafe require(
        ccuda_copy_to_device(destination, source, byteCount, stream), "copying to the GPU")
    case .toHost:
      try unsafe require(
        ccuda_copy_to_host(destination, source, byteCount, stream), "copying from the GPU")
    case .onDevice:
      try unsafe require(
        ccuda_copy_on_device(destination, source, byteCount, stream), "copying on the GPU")
    }
  }

  // MARK: Work

  package func launch(
    _ kernel: String, grid: LaunchGrid, sharedByteCount: Int, _ arguments: [KernelArgument]
  ) throws(ComputeError) {
    guard let function = unsafe functions[kernel] else {
      preconditionFailure("no kernel \(kernel)")
    }
    unsafe ccuda_set_context(context)
    let isNew = sharedByteCounts.withLock { known in
      guard sharedByteCount > known[kernel, default: Self.freeSharedByteCount] else { return false }
      known[kernel] = sharedByteCount
      return true
    }
    if isNew {
      try unsafe require(
        ccuda_allow_shared_memory(function, Int32(sharedByteCount)),
        "\(kernel): \(sharedByteCount) bytes of shared memory")
    }
    var blocks = [UInt32(grid.x), UInt32(grid.y), UInt32(grid.z)]
    let threads = UInt32(KernelCatalog.kernel(kernel).threadCount)
    let code = unsafe KernelArgument.withAddresses(arguments) { addresses in
      unsafe ccuda_launch(
        function, &blocks, threads, UInt32(sharedByteCount), stream, addresses)
    }
    try require(code, kernel)
  }

  package func milliseconds(_ work: () throws -> Void) throws -> Double {
    unsafe ccuda_set_context(context)
    var events: (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) = (nil, nil)
    defer {
      unsafe ccuda_destroy_event(events.0)
      unsafe ccuda_destroy_event(events.1)
    }
    try unsafe require(ccuda_create_event(&events.0), "making an event")
    try unsafe require(ccuda_create_event(&events.1), "making an event")
    try unsafe require(ccuda_record_event(events.0, stream), "recording an event")
    try work()
    try unsafe require(ccuda_record_event(events.1, stream), "recording an event")
    var time: Float = 0
    try unsafe require(ccuda_elapsed(events.0, events.1, &time), "measuring")
    return Double(time)
  }

  /// Waits for everything that was started.
  package func synchronize() throws(ComputeError) {
    unsafe ccuda_set_context(context)
    try unsafe require(ccuda_synchronize(stream), "waiting")
  }
}

/// The driver, opened; what it says of itself and of the GPUs.
package struct CUDADriver: Sendable {
  /// 1000 times the major version of CUDA that it supports, plus ten times the minor one.
  package let version: Int
  package let path: String
  package let deviceCount: Int
  package var versionText: String { "\(version / 1000).\(version % 1000 / 10)" }

  /// A GPU.
  package struct GPU: Sendable {
    package let name: String
    /// Compute capability, 90 for 9.0.
    package let capability: Int
    package let byteCount: Int
    package let multiprocessorCount: Int
  }

  /// Finds and opens the driver.
  package init(_ search: LibrarySearch) throws(UserError) {
    try search.open(.driver) { path in
      unsafe problem(opening: path) { unsafe ccuda_open_driver($0, $1, $2) }
    }
    path = unsafe text { unsafe ccuda_driver_path($0, $1) }
    var (version, count) = (Int32(0), Int32(0))
    guard unsafe ccuda_driver_version(&version) == 0, unsafe ccuda_device_count(&count) == 0 else {
      throw UserError(.system, at: path, "the driver does not count its GPUs")
    }
    self.version = Int(version)
    deviceCount = Int(count)
  }

  /// What a GPU can do at most, as far as the driver tells.
  func limits(_ ordinal: Int32, capability: Int) -> DeviceLimits {
    // CUdevice_attribute: multiprocessors, their clock, clock and width of the memory.
    let values = [16, 13, 36, 37].map { (attribute: Int32) in
      var value: Int32 = 0
      return unsafe ccuda_device_attribute(attribute, ordinal, &value) == 0 ? Int(value) : 0
    }
    return DeviceLimits(
      capability: capability, multiprocessors: values[0], clock: values[1],
      memoryClock: values[2], busWidth: values[3])
  }

  package func description(_ ordinal: Int32) throws(UserError) -> GPU {
    var (major, minor, multiprocessors, bytes) = (Int32(0), Int32(0), Int32(0), 0)
    let name = unsafe text { unsafe _ = ccuda_device_name(ordinal, $0, Int32($1)) }
    guard
      unsafe ccuda_device_attribute(75, ordinal, &major) == 0,
      unsafe ccuda_device_attribute(76, ordinal, &minor) == 0,
      unsafe ccuda_device_attribute(16, ordinal, &multiprocessors) == 0,
      unsafe ccuda_device_memory(ordinal, &bytes) == 0
    else { throw UserError(.system, at: path, "the driver does not describe GPU \(ordinal)") }
    return GPU(
      name: name, capability: Int(10 * major + minor), byteCount: bytes,
      multiprocessorCount: Int(multiprocessors))
  }
}
