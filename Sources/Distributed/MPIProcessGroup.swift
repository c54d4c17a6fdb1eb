internal import CMPI
package import Support
internal import Synchronization

/// Ranks that speak through Open MPI, from and to host memory.
///
/// Counts in MPI are 32-bit, and offsets beyond 2^31 are a source of known faults, so every
/// transfer is cut in pieces: a gather that fits one piece is one `MPI_Iallgatherv`, where Open MPI
/// picks the algorithm; a larger one travels around a ring, which crosses each link between hosts
/// only once per byte.
@safe package final class MPIProcessGroup: ProcessGroup {
  /// The most bytes of one MPI call.
  package static let defaultPieceByteCount = 256 << 20

  package let rank: Int
  package let worldSize: Int
  package let localRank: Int
  package let localWorldSize: Int

  private nonisolated(unsafe) let communicator: cmpi_communicator
  private let isWorld: Bool
  /// Whether the group sleeps while it waits, to leave the core to the computation.
  private let isPatient: Bool
  private let pieceByteCount: Int
  private let sentByteCount = Atomic<Int>(0)

  package var bytesSent: Int { sentByteCount.load(ordering: .relaxed) }

  /// Starts MPI, once per process.
  ///
  /// - Parameters:
  ///   - libraries: paths or sonames of Open MPI, tried in this order.
  ///   - pieceByteCount: the most bytes of one MPI call; smaller values serve tests.
  /// - Returns: the group of all ranks.
  /// - Throws: ``UserError`` when no library can be used or MPI cannot start.
  package static func start(
    libraries: [String], pieceByteCount: Int = defaultPieceByteCount
  ) throws(UserError) -> MPIProcessGroup {
    try openLibrary(libraries)
    var hasThreads = false
    try check("starting MPI", unsafe cmpi_initialize(&hasThreads))
    guard hasThreads else {
      throw UserError(
        .distributed, "this Open MPI was built without MPI_THREAD_MULTIPLE",
        fix: "install the distribution's package: apt-get install libopenmpi3 openmpi-bin")
    }
    var world: cmpi_communicator?
    try check("starting MPI", unsafe cmpi_world(&world))
    guard let world = unsafe world else { preconditionFailure("MPI gave no communicator") }
    return try unsafe MPIProcessGroup(
      world, isWorld: true, isPatient: false, pieceByteCount: pieceByteCount)
  }

  private static func openLibrary(_ libraries: [String]) throws(UserError) {
    var reasons: [String] = []
    for library in libraries {
      var message = [CChar](repeating: 0, count: 512)
      if unsafe cmpi_open(library, &message, message.count) { return }
      reasons.append("\(library): \(text(message))")
    }
    throw UserError(
      .distributed,
      "several ranks need Open MPI, which cannot be opened: " + reasons.joined(separator: "; "),
      fix: "apt-get install openmpi-bin libopenmpi3, or set ACCELERATE_MPI_LIB to libmpi.so.40")
  }

  private init(
    _ communicator: cmpi_communicator, isWorld: Bool, isPatient: Bool, pieceByteCount: Int
  ) throws(UserError) {
    var (rank, worldSize, localRank, localWorldSize): (Int32, Int32, Int32, Int32) = (0, 0, 0, 0)
    try Self.check("asking for the rank", unsafe cmpi_rank(communicator, &rank, &worldSize))
    try Self.check(
      "finding the ranks of this host",
      unsafe cmpi_local_rank(communicator, &localRank, &localWorldSize))
    self.rank = Int(rank)
    self.worldSize = Int(worldSize)
    self.localRank = Int(localRank)
    self.localWorldSize = Int(localWorldSize)
    unsafe self.communicator = unsafe communicator
    self.isWorld = isWorld
    self.isPatient = isPatient
    self.pieceByteCount = pieceByteCount
  }

  package func split(color: Int) throws(UserError) -> any ProcessGroup {
    try makeGroup(color: color, isPatient: isPatient)
  }

  package func makeBackgroundGroup() throws(UserError) -> any ProcessGroup {
    try makeGroup(color: 0, isPatient: true)
  }

  private func makeGroup(color: Int, isPatient: Bool) throws(UserError) -> MPIProcessGroup {
    var child: cmpi_communicator?
    try Self.check("splitting a group", unsafe cmpi_split(communicator, Int32(color), &child))
    guard let child = unsafe child else { preconditionFailure("MPI gave no communicator") }
    return try unsafe MPIProcessGroup(
      child, isWorld: false, isPatient: isPatient, pieceByteCount: pieceByteCount)
  }

  /// Frees a group made by ``split(color:)``; on the group of all ranks, ends MPI.
  package func shutdown() throws(UserError) {
    if isWorld {
      try Self.check("ending MPI", cmpi_finalize())
    } else {
      try Self.check("leaving a group", unsafe cmpi_free(communicator))
    }
  }

  /// Asks the launcher to end all ranks. Returns when MPI was never loaded.
  package static func abort(_ code: Int32) { cmpi_abort(code) }

  // MARK: Collectives

  package func barrier() throws(UserError) {
    try Self.check("barrier", unsafe cmpi_barrier(communicator))
  }

  package func broadcast(
    _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws(UserError) {
    precondition((0..<worldSize).contains(root), "broadcast from rank \(root) of \(worldSize)")
    for piece in pieces(of: bytes.count) {
      let address = unsafe bytes.baseAddress.map { unsafe $0 + piece.lowerBound }
      try Self.check(
        "broadcast of \(bytes.count) bytes",
        unsafe cmpi_broadcast(communicator, address, try count32(piece.count), Int32(root)))
    }
    if rank == root { didSend(bytes.count * (worldSize - 1)) }
  }

  package func allGatherV(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(UserError) {
    precondition(counts.count == worldSize, "allGatherV: \(counts.count) counts for \(worldSize)")
    let offsets = Self.offsets(of: counts)
    precondition(
      send.count == counts[rank] && receive.count == offsets[worldSize],
      "allGatherV: \(send.count) bytes into \(receive.count), but the counts are \(counts)")
    defer { didSend(counts[rank] * (worldSize - 1)) }
    let own = unsafe receive.baseAddress.map { unsafe $0 + offsets[rank] }
    if let own = unsafe own, let source = send.baseAddress, unsafe source != own {
      unsafe own.copyMemory(from: source, byteCount: send.count)
    }
    if receive.count <= pieceByteCount {
      try unsafe gatherAtOnce(receive, counts, offsets)
    } else {
      try unsafe gatherAroundRing(receive, counts, offsets)
    }
  }

  /// In place: this rank's bytes already lie at its offset.
  private func gatherAtOnce(
    _ receive: UnsafeMutableRawBufferPointer, _ counts: [Int], _ offsets: [Int]
  ) throws(UserError) {
    var counts32: [Int32] = []
    var offsets32: [Int32] = []
    for index in counts.indices {
      counts32.append(try count32(counts[index]))
      offsets32.append(try count32(offsets[index]))
    }
    try Self.check(
      "all-gather of \(receive.count) bytes",
      unsafe cmpi_all_gather(
        communicator, receive.baseAddress, counts32, offsets32, isPatient))
  }

  /// In step s each rank passes on the block that it received in step s - 1.
  private func gatherAroundRing(
    _ receive: UnsafeMutableRawBufferPointer, _ counts: [Int], _ offsets: [Int]
  ) throws(UserError) {
    guard let base = receive.baseAddress else { return }
    let next = (rank + 1) % worldSize
    let previous = (rank + worldSize - 1) % worldSize
    for step in 0..<worldSize - 1 {
      let sent = (rank + worldSize - step) % worldSize
      let received = (rank + worldSize - step - 1) % worldSize
      let messages =
        try unsafe self.messages(
          base + offsets[received], counts[received], previous, isSend: false)
        + self.messages(base + offsets[sent], counts[sent], next, isSend: true)
      try unsafe exchange(messages, "all-gather of \(receive.count) bytes")
    }
  }

  package func allToAllV(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int], sendOffsets: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int], receiveOffsets: [Int]
  ) throws(UserError) {
    for (counts, offsets, byteCount) in [
      (sendCounts, sendOffsets, send.count), (receiveCounts, receiveOffsets, receive.count),
    ] {
      precondition(counts.count == worldSize && offsets.count == worldSize)
      for (count, offset) in zip(counts, offsets) {
        precondition(
          count >= 0 && offset >= 0 && offset <= byteCount && count <= byteCount - offset,
          "allToAllV: \(count) bytes at \(offset) of \(byteCount)")
      }
    }
    precondition(sendCounts[rank] == receiveCounts[rank], "allToAllV: own counts differ")
    var all: [cmpi_message] = unsafe []
    // Each rank begins with its neighbour, so that not all of them write to rank 0 first.
    for step in 1..<max(worldSize, 1) {
      let source = (rank + worldSize - step) % worldSize
      let target = (rank + step) % worldSize
      if let base = receive.baseAddress {
        try unsafe all += messages(
          base + receiveOffsets[source], receiveCounts[source], source, isSend: false)
      }
      if let base = send.baseAddress {
        let address = unsafe UnsafeMutableRawPointer(mutating: base + sendOffsets[target])
        try unsafe all += messages(address, sendCounts[target], target, isSend: true)
      }
    }
    if let source = send.baseAddress, let target = receive.baseAddress {
      unsafe (target + receiveOffsets[rank]).copyMemory(
        from: source + sendOffsets[rank], byteCount: sendCounts[rank])
    }
    try unsafe exchange(all, "all-to-all of \(send.count) bytes")
    didSend(sendCounts.reduce(0, +) - sendCounts[rank])
  }

  // MARK: Pieces

  /// Ranges of at most `pieceByteCount` that cover `byteCount`; none for zero bytes.
  private func pieces(of byteCount: Int) -> [Range<Int>] {
    stride(from: 0, to: byteCount, by: pieceByteCount).map { start in
      start..<min(start + pieceByteCount, byteCount)
    }
  }

  private func messages(
    _ base: UnsafeMutableRawPointer, _ byteCount: Int, _ peer: Int, isSend: Bool
  ) throws(UserError) -> [cmpi_message] {
    var result: [cmpi_message] = unsafe []
    for piece in pieces(of: byteCount) {
      unsafe result.append(
        cmpi_message(
          buffer: base + piece.lowerBound, byte_count: try count32(piece.count),
          peer: Int32(peer), is_send: isSend))
    }
    return unsafe result
  }

  private func exchange(_ messages: [cmpi_message], _ operation: String) throws(UserError) {
    try Self.check(
      operation,
      unsafe cmpi_exchange(communicator, messages, try count32(messages.count), isPatient))
  }

  private func didSend(_ byteCount: Int) {
    sentByteCount.wrappingAdd(byteCount, ordering: .relaxed)
  }

  /// Where each rank's bytes begin, and the total at the end.
  private static func offsets(of counts: [Int]) -> [Int] {
    var offsets = [0]
    for count in counts {
      precondition(count >= 0, "a negative count")
      offsets.append(offsets[offsets.count - 1] + count)
    }
    return offsets
  }

  // MARK: Errors

  private func count32(_ count: Int) throws(UserError) -> Int32 {
    guard let count = Int32(exactly: count) else {
      throw UserError(.distributed, "\(count) is more than MPI's 32-bit counts hold")
    }
    return count
  }

  private static func check(_ operation: String, _ code: Int32) throws(UserError) {
    guard code != 0 else { return }
    var message = [CChar](repeating: 0, count: 512)
    unsafe cmpi_error_text(code, &message, message.count)
    throw UserError(.distributed, "\(operation) failed: \(text(message))")
  }

  private static func text(_ message: [CChar]) -> String {
    String(
      decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
