package import DistributedTraining
internal import Glibc
package import Support

/// Ranks that are threads of one process, so that a test can tamper with what they send.
package final class ThreadGroup: ProcessGroup {
  /// Which collective delivered bytes.
  package enum Collective: Sendable { case allGather, allToAll, broadcast }

  /// Sees what a collective delivers to a rank, and may change it. The depth counts the splits
  /// that led to the group.
  package typealias Tamper =
    @Sendable (
      _ collective: Collective, _ rank: Int, _ depth: Int, _ bytes: inout [UInt8]
    ) -> Void

  package let rank: Int
  package let worldSize: Int
  package var localRank: Int { rank }
  package var localWorldSize: Int { worldSize }
  private let board: Board
  private let depth: Int
  private let tamper: Tamper?
  private let counts: Counts

  /// Numbers of one rank; one thread at a time uses its group.
  private final class Counts: @unchecked Sendable {
    var sent = 0
    var splits = 0
  }

  private init(rank: Int, board: Board, depth: Int, tamper: Tamper?) {
    self.rank = rank
    worldSize = board.size
    self.board = board
    self.depth = depth
    self.tamper = tamper
    counts = Counts()
  }

  package var bytesSent: Int { counts.sent }

  /// Runs `body` on so many ranks and waits for all of them.
  ///
  /// - Returns: what each rank returned or threw.
  package static func run<Value: Sendable>(
    ranks: Int, tamper: Tamper? = nil,
    _ body: @escaping @Sendable (ThreadGroup) throws -> Value
  ) -> [Result<Value, any Error>] {
    let board = Board(size: ranks)
    let results = Results<Value>(ranks)
    let threads = (0..<ranks).map { rank in
      Thread {
        let group = ThreadGroup(rank: rank, board: board, depth: 0, tamper: tamper)
        let result = Result { try body(group) }
        // A rank that fails leaves no other waiting, as the launcher would see to.
        if case .failure = result { board.breakDown() }
        results.set(result, rank)
      }
    }
    for thread in threads { thread.join() }
    return results.all
  }

  // MARK: Collectives

  package func allGatherV(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(UserError) {
    let all = try board.exchange(rank, [unsafe Array(send)])
    self.counts.sent += send.count * (worldSize - 1)
    var bytes = all.flatMap { $0[0] }
    precondition(bytes.count == receive.count && all.map { $0[0].count } == counts)
    tamper?(.allGather, rank, depth, &bytes)
    unsafe receive.copyBytes(from: bytes)
  }

  package func allToAllV(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int], sendOffsets: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int], receiveOffsets: [Int]
  ) throws(UserError) {
    let parts = (0..<worldSize).map { rank in
      sendCounts[rank] == 0
        ? [] : unsafe Array(send[sendOffsets[rank]..<sendOffsets[rank] + sendCounts[rank]])
    }
    counts.sent += sendCounts.reduce(0, +) - sendCounts[rank]
    let all = try board.exchange(rank, parts)
    for source in 0..<worldSize where receiveCounts[source] > 0 {
      var bytes = all[source][rank]
      precondition(bytes.count == receiveCounts[source])
      tamper?(.allToAll, rank, depth, &bytes)
      let range = receiveOffsets[source]..<receiveOffsets[source] + bytes.count
      unsafe UnsafeMutableRawBufferPointer(rebasing: receive[range]).copyBytes(from: bytes)
    }
  }

  package func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws(UserError) {
    let all = try board.exchange(rank, [unsafe Array(bytes)])
    guard rank != root else {
      counts.sent += bytes.count * (worldSize - 1)
      return
    }
    var received = all[root][0]
    tamper?(.broadcast, rank, depth, &received)
    unsafe bytes.copyBytes(from: received)
  }

  package func barrier() throws(UserError) { _ = try board.exchange(rank, []) }

  package func split(color: Int) throws(UserError) -> any ProcessGroup {
    let colors = try board.exchange(rank, [[UInt8(color)]]).map { $0[0][0] }
    counts.splits += 1
    let members = colors.indices.filter { colors[$0] == UInt8(color) }
    let part = board.part("\(counts.splits)-\(color)", size: members.count)
    return ThreadGroup(
      rank: members.firstIndex(of: rank) ?? 0, board: part, depth: depth + 1, tamper: tamper)
  }

  package func shutdown() throws(UserError) {}
}

/// Where ranks leave what they send until all have read it.
///
/// `@unchecked Sendable` is sound because every field is touched with the lock held.
@safe private final class Board: @unchecked Sendable {
  let size: Int
  private let lock = Lock()
  private var posted: [[[UInt8]]?]
  private var delivered: [[[UInt8]]] = []
  private var round = 0
  private var isBroken = false
  private var parts: [String: Board] = [:]

  init(size: Int) {
    self.size = size
    posted = Array(repeating: nil, count: size)
  }

  /// Leaves a rank's parts and returns those of all ranks.
  func exchange(_ rank: Int, _ own: [[UInt8]]) throws(UserError) -> [[[UInt8]]] {
    lock.lock()
    defer { lock.unlock() }
    guard !isBroken else { throw UserError(.distributed, "another rank has ended") }
    posted[rank] = own
    let current = round
    if posted.allSatisfy({ $0 != nil }) {
      delivered = posted.map { $0 ?? [] }
      posted = Array(repeating: nil, count: size)
      round += 1
      lock.wakeAll()
    }
    while round == current && !isBroken { lock.wait() }
    // The next round cannot end, and change this, before this rank has posted again.
    guard round != current else { throw UserError(.distributed, "another rank has ended") }
    return delivered
  }

  func part(_ name: String, size: Int) -> Board {
    lock.lock()
    defer { lock.unlock() }
    let part = parts[name] ?? Board(size: size)
    parts[name] = part
    if isBroken { part.breakDown() }
    return part
  }

  func breakDown() {
    lock.lock()
    defer { lock.unlock() }
    isBroken = true
    lock.wakeAll()
    for part in parts.values { part.breakDown() }
  }
}

/// A mutex with a condition.
@safe private final class Lock: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    unsafe mutex.initialize(to: pthread_mutex_t())
    unsafe changed.initialize(to: pthread_cond_t())
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(changed, nil)
  }

  deinit {
    unsafe pthread_cond_destroy(changed)
    unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
    unsafe changed.deallocate()
  }

  func lock() { unsafe pthread_mutex_lock(mutex) }
  func unlock() { unsafe pthread_mutex_unlock(mutex) }
  func wait() { unsafe pthread_cond_wait(changed, mutex) }
  func wakeAll() { unsafe pthread_cond_broadcast(changed) }
}

/// A thread of the system, which may block.
private struct Thread {
  private final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  private var handle = pthread_t()

  init(_ run: @escaping @Sendable () -> Void) {
    let body = unsafe Unmanaged.passRetained(Body(run)).toOpaque()
    let status = unsafe pthread_create(
      &handle, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, body)
    precondition(status == 0, "no thread: \(status)")
  }

  func join() { pthread_join(handle, nil) }
}

/// What the ranks ended with.
private final class Results<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  private var results: [Result<Value, any Error>?]

  init(_ count: Int) { results = Array(repeating: nil, count: count) }

  func set(_ result: Result<Value, any Error>, _ rank: Int) {
    lock.lock()
    defer { lock.unlock() }
    results[rank] = result
  }

  var all: [Result<Value, any Error>] { results.compactMap { $0 } }
}
