internal import CCUDA
package import Compute
internal import Glibc
internal import Support
internal import Synchronization

/// Collectives between GPUs, by NCCL on a stream of their own.
///
/// The host only queues them: the stream waits for what the device was asked before, and the device
/// for the stream where the result is used. The communicator never blocks, so that a failure is seen
/// and told, wherever the host happens to wait.
///
/// `@unchecked Sendable` is sound because one thread starts collectives, and the communicator is
/// behind a `Mutex` for whoever asks after its state.
@safe package final class NCCLCollectives: TensorCollectives, DeviceWatched, @unchecked Sendable {
  package let rank: Int
  package let worldSize: Int
  package private(set) var bytesSent = 0
  package let sendsFromHost = false
  private let library: NCCLLibrary
  private let device: any CUDADevice
  private let stream: any SideStream
  private let communicator: Communicator
  /// What the stream works on, kept until its end is known.
  private var underWay: [Tensor] = []

  /// The most multiprocessors that NCCL takes from the computation: eight move some 150 GB/s, more
  /// than a layer's slab needs while the layer before is computed.
  package static let maximumBlockCount = 8

  /// The library's communicator until it is given up, and why it was.
  @safe private final class Communicator: Sendable {
    private struct State {
      /// Bits of an address.
      var handle: UInt?
      var failure: ComputeError?
    }
    private let state: Mutex<State>

    init(_ handle: UnsafeMutableRawPointer) {
      state = Mutex(State(handle: UInt(bitPattern: handle)))
    }

    /// Calls `body` with the communicator, which is given up when it returns a failure.
    func use(_ body: (UnsafeMutableRawPointer) -> ComputeError?) throws(ComputeError) {
      let failure: ComputeError? = state.withLock { state in
        guard let bits = state.handle, let handle = unsafe UnsafeMutableRawPointer(bitPattern: bits)
        else { return state.failure }
        state.failure = unsafe body(handle)
        if state.failure != nil { state.handle = nil }
        return state.failure
      }
      if let failure { throw failure }
    }

    /// Hands the communicator out for good; nil where it was given up.
    func take() -> UInt? {
      state.withLock { state in
        defer { state.handle = nil }
        return state.handle
      }
    }
  }

  /// Meets the other ranks; returns when all of them have come.
  ///
  /// - Parameters:
  ///   - library: of the same version on every rank.
  ///   - device: of this rank alone.
  ///   - rank: this process's number.
  ///   - worldSize: ranks.
  ///   - identifier: made by one rank and the same on all; serves once.
  /// - Throws: ``UserError`` with NCCL's reason; ``ComputeError`` when the device fails.
  package init(
    library: NCCLLibrary, device: any CUDADevice, rank: Int, worldSize: Int, identifier: [UInt8]
  ) throws {
    precondition(identifier.count == NCCLLibrary.identifierByteCount)
    self.library = library
    self.device = device
    self.rank = rank
    self.worldSize = worldSize
    stream = try device.makeSideStream()
    device.makeCurrent()
    var handle: UnsafeMutableRawPointer?
    var code = unsafe ccuda_nccl_init(
      library.functions, &handle, Int32(worldSize), identifier, Int32(rank),
      Int32(Self.maximumBlockCount))
    guard let handle = unsafe handle, code == 0 || code == Self.inProgress else {
      throw Self.failure(library, code, "meeting the other ranks")
    }
    unsafe communicator = Communicator(handle)
    code = unsafe Self.settle(library, handle)
    if code != 0 { throw Self.failure(library, code, "meeting the other ranks") }
    device.watch(self)
  }

  deinit {
    guard let bits = communicator.take(),
      let handle = unsafe UnsafeMutableRawPointer(bitPattern: bits)
    else { return }
    device.makeCurrent()
    // All ranks leave together at the end of a run, when what is queued is done; one that has failed is
    // not waited for long.
    var code = unsafe ccuda_nccl_finalize(library.functions, handle)
    let deadline = SteadyClock.seconds() + 5
    while code == Self.inProgress && SteadyClock.seconds() < deadline {
      usleep(500)
      code = unsafe ccuda_nccl_state(library.functions, handle)
    }
    unsafe _ =
      code == 0
      ? ccuda_nccl_destroy(library.functions, handle) : ccuda_nccl_abort(library.functions, handle)
  }

  // MARK: Collectives

  package func startAllGather(_ send: Tensor, into whole: Tensor, byteCounts: [Int]) throws {
    precondition(byteCounts.count == worldSize && byteCounts[rank] == send.byteCount)
    precondition(byteCounts.reduce(0, +) == whole.byteCount)
    bytesSent += send.byteCount * (worldSize - 1)
    let bytes = whole.viewed(as: .uint8)
    try unsafe queue("all-gather", [send, whole]) { functions, communicator, stream in
      if Set(byteCounts).count == 1 {
        return unsafe ccuda_nccl_all_gather(
          functions, communicator, send.address, bytes.address, send.byteCount, stream)
      }
      // Each rank's part is as long as it is.
      return unsafe grouped(functions) {
        var start = 0
        for (root, count) in byteCounts.enumerated() where count > 0 {
          let part = bytes.elements(start..<start + count)
          let code = unsafe ccuda_nccl_broadcast(
            functions, communicator, root == rank ? send.address : part.address, part.address,
            count, Int32(root), stream)
          if Self.isFailure(code) { return code }
          start += count
        }
        return 0
      }
    }
  }

  package func startAllToAll(_ sends: [Tensor?], into receives: [Tensor?]) throws {
    precondition(sends.count == worldSize && receives.count == worldSize)
    precondition(sends[rank] == nil && receives[rank] == nil, "a rank keeps what is its own")
    bytesSent += sends.reduce(0) { $0 + ($1?.byteCount ?? 0) }
    try unsafe queue("exchange", (sends + receives).compactMap(\.self)) {
      functions, communicator, stream in
      unsafe grouped(functions) {
        // In the order of the ranks on both sides, so that none waits for a later one.
        for peer in 0..<worldSize {
          if let part = sends[peer], part.byteCount > 0 {
            let code = unsafe ccuda_nccl_send(
              functions, communicator, part.address, part.byteCount, Int32(peer), stream)
            if Self.isFailure(code) { return code }
          }
          if let part = receives[peer], part.byteCount > 0 {
            let code = unsafe ccuda_nccl_receive(
              functions, communicator, part.address, part.byteCount, Int32(peer), stream)
            if Self.isFailure(code) { return code }
          }
        }
        return 0
      }
    }
  }

  package func wait() throws {
    try check()
    guard !underWay.isEmpty else { return }
    try stream.join()
    underWay = []
  }

  /// Throws what has gone wrong with this rank's communicator, which is given up then.
  package func check() throws(ComputeError) {
    try unsafe communicator.use { handle in
      let code = unsafe ccuda_nccl_state(library.functions, handle)
      return Self.isFailure(code) ? unsafe giveUp(handle, code, "an exchange between GPUs") : nil
    }
  }

  /// Runs each collective once on a few bytes: ranks connect, and NCCL takes its buffers, before
  /// memory is planned and the first step is timed. All ranks call it.
  package func warmUp(_ backend: any Backend) throws {
    let part = 1024
    let (sent, received) = (
      try backend.makeStorage(byteCount: worldSize * part),
      try backend.makeStorage(byteCount: worldSize * part)
    )
    func parts(_ storage: Storage) -> [Tensor] {
      (0..<worldSize).map {
        Tensor(storage: storage, byteOffset: $0 * part, columns: part, elementType: .uint8)
      }
    }
    let whole = Tensor(storage: received, columns: worldSize * part, elementType: .uint8)
    try startAllGather(
      parts(sent)[rank], into: whole, byteCounts: [Int](repeating: part, count: worldSize))
    // Parts of two lengths go another way.
    var uneven = [Int](repeating: part, count: worldSize)
    uneven[0] /= 2
    try startAllGather(
      parts(sent)[rank].elements(0..<uneven[rank]),
      into: whole.elements(0..<uneven.reduce(0, +)), byteCounts: uneven)
    func others(_ storage: Storage) -> [Tensor?] {
      parts(storage).enumerated().map { $0 == rank ? nil : $1 }
    }
    try startAllToAll(others(sent), into: others(received))
    try wait()
    try backend.synchronize()
    bytesSent = 0
  }

  // MARK: Queueing

  /// Queues a collective behind what the device was asked to do.
  private func queue(
    _ name: String, _ tensors: [Tensor],
    _ body: (OpaquePointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Int32
  ) throws(ComputeError) {
    device.makeCurrent()
    try stream.follow()
    try unsafe communicator.use { handle in
      var code = unsafe body(library.functions, handle, stream.handle)
      // It is on the stream only when the library is through with the call.
      if code == Self.inProgress { code = unsafe Self.settle(library, handle) }
      return code == 0 ? nil : unsafe giveUp(handle, code, name)
    }
    underWay += tensors
  }

  /// Calls `body` between the start and the end of a group of calls, which are made as one.
  private func grouped(_ functions: OpaquePointer, _ body: () -> Int32) -> Int32 {
    let code = unsafe ccuda_nccl_group_start(functions)
    guard code == 0 else { return code }
    let inside = body()
    let end = unsafe ccuda_nccl_group_end(functions)
    return inside == 0 ? end : inside
  }

  /// Waits until the library is through with the last call.
  private static func settle(_ library: NCCLLibrary, _ handle: UnsafeMutableRawPointer) -> Int32 {
    var looks = 0
    while true {
      let code = unsafe ccuda_nccl_state(library.functions, handle)
      guard code == inProgress else { return code }
      looks += 1
      // The first call between two ranks connects them, which takes long.
      if looks > 1000 { usleep(200) }
    }
  }

  // MARK: Failures

  private static let inProgress: Int32 = 7

  private static func isFailure(_ code: Int32) -> Bool { code != 0 && code != inProgress }

  /// Ends what runs on the device, which would never end by itself, and says why.
  private func giveUp(_ handle: UnsafeMutableRawPointer, _ code: Int32, _ work: String)
    -> ComputeError
  {
    let reason = library.reason(code)
    unsafe _ = ccuda_nccl_abort(library.functions, handle)
    return ComputeError("\(work) failed: NCCL \(library.versionText): \(reason)")
  }

  private static func failure(_ library: NCCLLibrary, _ code: Int32, _ work: String) -> UserError {
    UserError(
      .distributed, at: library.path, "\(work) failed: \(library.reason(code))",
      fix: "set NCCL_DEBUG=INFO to see more, or give --collectives mpi")
  }
}
