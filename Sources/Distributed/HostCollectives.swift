package import Compute
package import Support

/// Collectives of a process group, by a thread of their own. Where the device's memory is not the
/// host's, tensors pass through buffers of the host.
package final class HostCollectives: TensorCollectives {
  package let rank: Int
  package let worldSize: Int
  package var sendsFromHost: Bool { !backend.hasHostMemory }
  private let thread: CommunicationThread
  private let backend: any Backend
  /// Memory of the host for each memory of the device that something was sent from or received in.
  /// It keeps the latter, whose identity stays its own.
  private var mirrors: [ObjectIdentifier: (device: Storage, host: Storage)] = [:]
  /// What arrives in the host's memory and belongs elsewhere.
  private var arrivals: [(arrived: Tensor, place: Tensor)] = []

  /// - Parameters:
  ///   - group: of the ranks; used by the new thread alone from now on.
  ///   - backend: of the tensors.
  /// - Throws: ``UserError`` when the system has no thread left.
  package init(_ group: any ProcessGroup, backend: any Backend) throws(UserError) {
    rank = group.rank
    worldSize = group.worldSize
    self.backend = backend
    thread = try CommunicationThread(group)
  }

  package var bytesSent: Int { thread.bytesSent }

  package func startAllGather(_ send: Tensor, into whole: Tensor, byteCounts: [Int]) throws {
    let gathered = try onHost(whole)
    let sent = try onHost(send)
    try copy(send, to: sent)
    if whole.byteCount > 0 { arrivals.append((gathered, whole)) }
    thread.start { group throws(UserError) in
      try unsafe group.allGatherV(
        UnsafeRawBufferPointer(start: sent.address, count: sent.byteCount),
        into: UnsafeMutableRawBufferPointer(start: gathered.address, count: gathered.byteCount),
        counts: byteCounts)
    }
  }

  package func startAllToAll(_ sends: [Tensor?], into receives: [Tensor?]) throws {
    let sent = try Side(sends.map { try $0.map { try onHost($0) } })
    for (tensor, host) in zip(sends, sent.tensors) {
      if let tensor, let host { try copy(tensor, to: host) }
    }
    let received = try Side(receives.map { try $0.map { try onHost($0) } })
    for (place, host) in zip(receives, received.tensors) {
      if let place, let host { arrivals.append((host, place)) }
    }
    thread.start { group throws(UserError) in
      try unsafe group.allToAllV(
        UnsafeRawBufferPointer(sent.bytes), sendCounts: sent.counts, sendOffsets: sent.offsets,
        into: received.bytes, receiveCounts: received.counts, receiveOffsets: received.offsets)
    }
  }

  package func wait() throws {
    try thread.wait()
    for (arrived, place) in arrivals { try copy(arrived, to: place) }
    arrivals = []
  }

  /// One side of an all-to-all: parts of one storage.
  private struct Side: Sendable {
    let tensors: [Tensor?]

    init(_ tensors: [Tensor?]) {
      self.tensors = tensors
      let storages = Set(tensors.compactMap { $0.map { ObjectIdentifier($0.storage) } })
      precondition(storages.count <= 1, "parts of one storage were expected")
    }

    var counts: [Int] { tensors.map { $0?.byteCount ?? 0 } }
    var offsets: [Int] { tensors.map { $0?.byteOffset ?? 0 } }
    var bytes: UnsafeMutableRawBufferPointer {
      guard let storage = tensors.lazy.compactMap({ $0?.storage }).first else {
        return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
      }
      return unsafe UnsafeMutableRawBufferPointer(
        start: storage.address, count: storage.byteCount)
    }
  }

  /// The tensor's place in the host's memory.
  private func onHost(_ tensor: Tensor) throws(ComputeError) -> Tensor {
    if tensor.storage.isOnHost { return tensor }
    let identity = ObjectIdentifier(tensor.storage)
    let host: Storage
    if let known = mirrors[identity] {
      host = known.host
    } else {
      host = try backend.makeHostTensor(byteCount: tensor.storage.byteCount).storage
      mirrors[identity] = (tensor.storage, host)
    }
    return Tensor(
      storage: host, byteOffset: tensor.byteOffset, rows: tensor.rows, columns: tensor.columns,
      elementType: tensor.elementType)
  }

  /// Copies between the device and the host; nothing where the two are one.
  private func copy(_ source: Tensor, to destination: Tensor) throws(ComputeError) {
    if source.storage !== destination.storage { try backend.copy(source, to: destination) }
  }
}
