internal import Glibc
package import Support

/// The supervisor's end of the ranks' control connections.
///
/// Anyone who reaches the port may connect. Until the job's secret was told a connection may say
/// one short line, for a few seconds, and only so many of them are kept.
package struct ControlServer: ~Copyable {
  /// What a rank has said or done.
  enum Event {
    case hello(rank: Int, host: String, process: Int32, job: UInt32)
    case message(rank: Int, ControlMessage)
    case closed(rank: Int)
  }

  private struct Connection {
    var descriptor: Int32
    var reader = ControlReader()
    /// Nil until the secret was told.
    var rank: Int?
    var opened: Double
  }

  /// Connections that have not told the secret; the oldest go first when there are more.
  private static let maximumStrangerCount = 128
  private static let strangerSeconds = 5.0
  /// Connections taken, and messages read from one, before others have their turn.
  private static let maximumBatch = 64
  private static let aliveSeconds = 1.0

  package let address: ControlAddress
  private let listener: Int32
  private let rankCount: Int
  private let leaseSeconds: Int
  private var connections: [Connection] = []
  private var lastAlive = 0.0

  /// Begins to listen.
  ///
  /// - Parameters:
  ///   - rankCount: of the job.
  ///   - isRemote: whether ranks of other hosts have to reach it.
  ///   - chosen: the address to listen on; nil for all where other hosts take part.
  ///   - leaseSeconds: how long ranks go on without hearing from here.
  /// - Throws: ``UserError``.
  package init(
    rankCount: Int, isRemote: Bool, chosen: String?, leaseSeconds: Int
  ) throws(UserError) {
    let host = isRemote ? chosen ?? ControlSocket.anyAddress : "127.0.0.1"
    let (descriptor, port) = try ControlSocket.listen(on: host)
    listener = descriptor
    self.rankCount = rankCount
    self.leaseSeconds = leaseSeconds
    var hosts = [host]
    if host == ControlSocket.anyAddress {
      // The ranks try them in this order; those of this machine take the last.
      hosts = ControlSocket.ownAddresses() + ["127.0.0.1"]
    }
    address = ControlAddress(hosts: hosts, port: port, token: ControlAddress.makeToken())
    Self.allowDescriptors(rankCount + Self.maximumStrangerCount + 64)
  }

  deinit {
    for connection in connections { close(connection.descriptor) }
    close(listener)
  }

  /// Ranks that are connected.
  var ranks: Set<Int> { Set(connections.compactMap(\.rank)) }

  /// Tells all ranks.
  mutating func broadcast(_ message: ControlMessage) {
    for connection in connections where connection.rank != nil {
      _ = ControlSocket.send(message, to: connection.descriptor)
    }
  }

  /// Tells one rank.
  func send(_ message: ControlMessage, toRank rank: Int) {
    for connection in connections where connection.rank == rank {
      _ = ControlSocket.send(message, to: connection.descriptor)
    }
  }

  /// Where something may arrive.
  var descriptors: [Int32] { [listener] + connections.map(\.descriptor) }

  /// Takes what has arrived, without waiting.
  ///
  /// - Parameter now: seconds of the steady clock.
  /// - Returns: what the ranks have said, in order.
  mutating func serve(now: Double) -> [Event] {
    accept(now: now)
    var events: [Event] = []
    var polled = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    let ready = unsafe poll(&polled, nfds_t(polled.count), 0)
    var broken: Set<Int> = []
    for index in connections.indices {
      if ready > 0 && polled[index].revents != 0 && !read(index, &events) {
        broken.insert(index)
      }
      if connections[index].rank == nil && now - connections[index].opened > Self.strangerSeconds {
        broken.insert(index)
      }
    }
    for index in broken.sorted(by: >) {
      let connection = connections.remove(at: index)
      close(connection.descriptor)
      if let rank = connection.rank { events.append(.closed(rank: rank)) }
    }
    if now - lastAlive >= Self.aliveSeconds {
      lastAlive = now
      broadcast(.alive)
    }
    return events
  }

  private mutating func accept(now: Double) {
    for _ in 0..<Self.maximumBatch {
      guard let descriptor = ControlSocket.accept(listener) else { break }
      connections.append(Connection(descriptor: descriptor, opened: now))
    }
    // Newcomers stand at the end, so the first stranger is the oldest. One that has spoken already
    // is heard before it would be closed.
    var excess = connections.count { $0.rank == nil } - Self.maximumStrangerCount
    while excess > 0, let oldest = connections.firstIndex(where: { $0.rank == nil }) {
      close(connections.remove(at: oldest).descriptor)
      excess -= 1
    }
  }

  /// Returns whether the connection is still of use.
  private mutating func read(_ index: Int, _ events: inout [Event]) -> Bool {
    for _ in 0..<Self.maximumBatch {
      switch ControlSocket.receive(connections[index].descriptor) {
      case .nothing: return true
      case .closed: return false
      case .bytes(let bytes):
        guard let messages = connections[index].reader.feed(bytes) else { return false }
        for message in messages {
          if let rank = connections[index].rank {
            events.append(.message(rank: rank, message))
          } else if let event = welcome(message, index) {
            events.append(event)
          } else {
            return false
          }
        }
      }
    }
    return true
  }

  private mutating func welcome(_ message: ControlMessage, _ index: Int) -> Event? {
    guard case .hello(let token, let rank, let process, let host, let job) = message,
      Self.isSecret(token, address.token), rank < rankCount, !ranks.contains(rank),
      !host.isEmpty, host.utf8.count <= 255, host.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
    else { return nil }
    connections[index].rank = rank
    _ = ControlSocket.send(
      .welcome(leaseSeconds: leaseSeconds), to: connections[index].descriptor)
    return .hello(rank: rank, host: host, process: process, job: job)
  }

  /// Compares in a time that does not tell how much was right.
  private static func isSecret(_ given: String, _ secret: String) -> Bool {
    let (given, secret) = (Array(given.utf8), Array(secret.utf8))
    guard given.count == secret.count else { return false }
    return zip(given, secret).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  private static func allowDescriptors(_ count: Int) {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard unsafe getrlimit(resource, &limit) == 0, limit.rlim_cur < UInt(count) else { return }
    limit.rlim_cur = min(UInt(count), limit.rlim_max)
    unsafe setrlimit(resource, &limit)
  }
}
