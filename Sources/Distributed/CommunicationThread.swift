internal import Support

/// A thread that runs collectives one after another, beside the computation.
final class CommunicationThread: Sendable {
  /// Collectives over the thread's group.
  typealias Job = @Sendable (any ProcessGroup) throws(UserError) -> Void

  private let group: any ProcessGroup
  /// MPI must not end while a collective runs: the thread ends with what is queued.
  private let thread: SerialThread

  /// Starts the thread.
  ///
  /// - Parameter group: of the ranks; no other thread may use it.
  /// - Throws: ``UserError`` when the system has no thread left.
  init(_ group: any ProcessGroup) throws(UserError) {
    self.group = group
    thread = try SerialThread()
  }

  /// Bytes that the thread's collectives handed to other ranks.
  var bytesSent: Int { group.bytesSent }

  /// Queues a job; every rank queues the same collectives in the same order.
  func start(_ job: @escaping Job) {
    thread.start { [group] () throws(UserError) in try job(group) }
  }

  /// Returns when nothing is queued or running.
  ///
  /// - Throws: the first failure of a job.
  func wait() throws(UserError) { try thread.wait() }
}
