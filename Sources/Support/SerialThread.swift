internal import Glibc

/// A thread that runs jobs one after another, beside the one that queues them.
///
/// `@unchecked Sendable` is sound because every field is read and written with `mutex` held.
@safe package final class SerialThread: @unchecked Sendable {
  package typealias Job = @Sendable () throws(UserError) -> Void

  private struct State {
    var jobs: [Job] = []
    /// Whether a job is running that is no longer in `jobs`.
    var isRunning = false
    var failure: UserError?
    var isEnding = false
  }

  /// What the thread holds on to.
  @safe private final class Shared: @unchecked Sendable {
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    var state = State()

    init() {
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
        // After a failure what was queued is dropped.
        if failure == nil {
          do throws(UserError) { try job() } catch { failure = error }
        }
        change {
          $0.isRunning = false
          $0.failure = failure
        }
      }
    }
  }

  private let shared = Shared()

  /// Starts the thread.
  ///
  /// - Throws: ``UserError`` when the system has no thread left.
  package init() throws(UserError) {
    let shared = shared
    try BackgroundThread.start { shared.serve() }
  }

  /// Waits for what is queued: it may use memory of whoever queued it.
  deinit {
    _ = shared.wait { $0.jobs.isEmpty && !$0.isRunning }
    shared.change { $0.isEnding = true }
  }

  package func start(_ job: @escaping Job) { shared.change { $0.jobs.append(job) } }

  /// Returns when nothing is queued or running.
  ///
  /// - Throws: the first failure of a job.
  package func wait() throws(UserError) {
    let state = shared.wait { $0.jobs.isEmpty && !$0.isRunning }
    if let failure = state.failure { throw failure }
  }
}
