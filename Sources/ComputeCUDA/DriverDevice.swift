internal import CCUDA
package import Compute
internal import Glibc
package import Support
internal import Synchronization

/// A GPU through NVIDIA's driver.
///
/// `@unchecked Sendable` is sound because the handles never change after `init`, the driver and
/// cuBLASLt may be called from any thread, and what changes later is behind a `Mutex`.
@safe package final class DriverDevice: CUDADevice, @unchecked Sendable {
  package let summary: String
  package let totalByteCount: Int
  package let limits: DeviceLimits
  package let place: DevicePlace
  private let context: UnsafeMutableRawPointer
  let stream: UnsafeMutableRawPointer
  /// Asked while the host waits for the device.
  private let watched = Mutex<[Watched]>([])
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
    try unsafe Self.require(ccuda_create_stream(&stream, false), "making a stream")
    guard let context = unsafe context, let stream = unsafe stream else {
      throw UserError(.system, at: driver.path, "the driver gave no context")
    }
    unsafe self.context = context
    unsafe self.stream = stream
    totalByteCount = gpu.byteCount
    place = DevicePlace(
      name: gpu.name, capability: gpu.capability, byteCount: gpu.byteCount,
      address: driver.pciAddress(Int32(ordinal)) ?? "\(ordinal)")
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
  func require(_ code: Int32, _ work: String) throws(ComputeError) {
    guard code != 0 else { return }
    let text = unsafe text { unsafe ccuda_driver_error(code, $0, $1) }
    throw ComputeError(
      "\(work) failed on \(place.name) at \(place.address): \(text)"
        + (Self.lossCodes.contains(code)
          ? "; the GPU was lost or its program broke off: `dmesg | grep -i xid` may say why, and "
            + "--resume goes on from the last checkpoint" : ""))
  }

  /// CUresult: the device is unavailable, has a memory error that cannot be corrected, an illegal
  /// address, a launch that failed, or nothing that is known.
  private static let lossCodes: Set<Int32> = [46, 101, 214, 220, 700, 719, 999]

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

  package func allocateOnHost(byteCount: Int) throws(ComputeError) -> Storage {
    unsafe ccuda_set_context(context)
    var address: UnsafeMutableRawPointer?
    try unsafe require(
      ccuda_allocate_host(&address, byteCount), "allocating \(byteCount) bytes of the host")
    guard let address = unsafe address else { throw ComputeError("the driver gave no memory") }
    let bits = UInt(bitPattern: address)
    let device = self
    return unsafe Storage(hostAddress: address, byteCount: byteCount) {
      unsafe ccuda_set_context(device.context)
      unsafe ccuda_free_host(UnsafeMutableRawPointer(bitPattern: bits))
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
      try waitForStream()
    case .toHost:
      try unsafe require(
        ccuda_copy_to_host(destination, source, byteCount, stream), "copying from the GPU")
      try waitForStream()
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
    try unsafe require(ccuda_create_event(&events.0, true), "making an event")
    try unsafe require(ccuda_create_event(&events.1, true), "making an event")
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
    try waitForStream()
  }

  // MARK: Exchanges beside the computation

  package func makeCurrent() { unsafe _ = ccuda_set_context(context) }

  package func makeSideStream() throws(ComputeError) -> any SideStream {
    unsafe ccuda_set_context(context)
    return try DriverSideStream(self)
  }

  package func watch(_ exchange: any DeviceWatched) {
    watched.withLock { list in
      list.removeAll { $0.exchange == nil }
      list.append(Watched(exchange: exchange))
    }
  }

  private struct Watched: Sendable { weak var exchange: (any DeviceWatched)? }

  /// Waits for the stream. An exchange that has failed never ends by itself, so that those are asked
  /// meanwhile, and at the end: what they brought may be worth nothing.
  private func waitForStream() throws(ComputeError) {
    let exchanges = watched.withLock { $0.compactMap(\.exchange) }
    guard !exchanges.isEmpty else {
      return try unsafe require(ccuda_synchronize(stream), "waiting")
    }
    let start = SteadyClock.seconds()
    var looks = 0
    while true {
      let code = unsafe ccuda_query_stream(stream)
      if code == 0 { break }
      guard code == CCUDA_NOT_READY else { return try require(code, "waiting") }
      looks += 1
      if looks % 256 == 0 {
        for exchange in exchanges { try exchange.check() }
        // What takes so long may take a little longer.
        if SteadyClock.seconds() - start > 0.05 { usleep(100) }
      }
    }
    for exchange in exchanges { try exchange.check() }
  }
}
