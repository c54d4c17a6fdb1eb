internal import Glibc
internal import Support

/// A thread that runs collectives one after another, beside the computation.
///
/// `@unchecked Sendable` is sound because every field is read and written with `mutex` held, and
/// the group is used by the thread alone.
@safe final class CommunicationThread: @unchecked Sendable {
  /// Collectives over the thread's group.
  typealias Job = @Sendable (any ProcessGroup) throws(UserError) -> Void

  private struct State {
    var jobs: [Job] = []
    /// Whether a job is running that is no longer in `jobs`.
    var isRunning = false
    var failure: UserError?
    var isEnding = false
  }

  /// What the thread holds on to.
  @safe private final class Shared: @unchecked Sendable {
    let group: any ProcessGroup
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    var state = State()

    init(group: any ProcessGroup) {
      self.group = group
      unsafe pthread_mutex_init(mutex, nil)
      unsafe pthread_cond_init(changed, nil)
    }

    deinit {
      unsafe mutex.deallocate()
      unsafe changed.deallocate()
    }

    /// Runs `body` with the mutex held, and wakes whoever waits for a change.
    func change<Result>(_ body: (inout State) -> Result) -> Result {
      unsafe pthread_mutex_lock(mutex)
      let result = body(&state)
      unsafe pthread_cond_broadcast(changed)
      unsafe pthread_mutex_unlock(mutex)
      return result
    }

    /// Returns with `state` as it was when `condition` held.
    func wait(until condition: (State) -> Bool) -> State {
      unsafe pthread_mutex_lock(mutex)
      while !condition(state) { unsafe pthread_cond_wait(changed, mutex) }
      let result = state
      unsafe pthread_mutex_unlock(mutex)
      return result
    }

    func serve() {
      while true {
        let state = wait { !$0.jobs.isEmpty || $0.isEnding }
        guard let job = state.jobs.first else { return }
        change {
          $0.jobs.removeFirst()
          $0.isRunning = true
        }
        var failure = state.failure
        // After a failure the other ranks have left; what was queued is dropped.
        if failure == nil {
          do throws(UserError) { try job(group) } catch { failure = error }
        }
        change {
          $0.isRunning = false
          $0.failure = failure
        }
      }
    }
  }

  private let shared: Shared

  /// Starts the thread.
  ///
  /// - Parameter group: of the ranks; no other thread may use it.
  /// - Throws: ``UserError`` when the system has no thread left.
  init(_ group: any ProcessGroup) throws(UserError) {
    let shared = Shared(group: group)
    self.shared = shared
    try BackgroundThread.start { shared.serve() }
  }

  /// Waits for what is queued, because MPI must not end while a collective runs.
  deinit {
    _ = shared.wait { $0.jobs.isEmpty && !$0.isRunning }
    shared.change { $0.isEnding = true }
  }

  /// Bytes that the thread's collectives handed to other ranks.
  var bytesSent: Int { shared.group.bytesSent }

  /// Queues a job; every rank queues the same collectives in the same order.
  func start(_ job: @escaping Job) { shared.change { $0.jobs.append(job) } }

  /// Returns when nothing is queued or running.
  ///
  /// - Throws: the first failure of a job.
  func wait() throws(UserError) {
    let state = shared.wait { $0.jobs.isEmpty && !$0.isRunning }
    if let failure = state.failure { throw failure }
  }
}
