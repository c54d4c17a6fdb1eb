internal import Glibc

/// Runs the tiles of an operation on a fixed number of threads.
///
/// Which thread takes which tile is not fixed and never matters: a tile's result depends on its
/// index alone. Threads sleep between operations, so that more ranks than cores work well.
final class ThreadPool: Sendable {
  let threadCount: Int
  private let queue: TileQueue
  private let threads: [pthread_t]

  init(threadCount: Int) {
    precondition(threadCount >= 1)
    self.threadCount = threadCount
    let queue = TileQueue()
    self.queue = queue
    threads = (1..<threadCount).map { worker in
      var thread = pthread_t()
      let job = unsafe Unmanaged.passRetained(WorkerStart(queue: queue, worker: worker)).toOpaque()
      let status = unsafe pthread_create(
        &thread, nil,
        { job in
          guard let job = unsafe job else { preconditionFailure("a thread without its job") }
          let start = unsafe Unmanaged<WorkerStart>.fromOpaque(job).takeRetainedValue()
          start.queue.serve(worker: start.worker)
          return nil
        }, unsafe job)
      precondition(status == 0, "cannot start a thread: error \(status)")
      return thread
    }
  }

  deinit {
    queue.end()
    for thread in threads { pthread_join(thread, nil) }
  }

  /// Calls `body` with each of 0 ..< tileCount and the worker 0 ..< threadCount that runs it;
  /// returns when all are done. Not to be called from inside `body`.
  func forEachTile(_ tileCount: Int, _ body: (_ tile: Int, _ worker: Int) -> Void) {
    if tileCount <= 1 || threadCount == 1 {
      for tile in 0..<tileCount { body(tile, 0) }
    } else {
      withoutActuallyEscaping(body) { queue.run(tileCount: tileCount, $0) }
    }
  }
}

/// What a new thread is told.
private final class WorkerStart: Sendable {
  let queue: TileQueue
  let worker: Int
  init(queue: TileQueue, worker: Int) {
    self.queue = queue
    self.worker = worker
  }
}

/// The tiles still to be done. `@unchecked Sendable` is sound because every field is read and
/// written with `mutex` held, and `work` is replaced only when no tile runs.
@safe private final class TileQueue: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let start = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let finish = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var work: ((Int, Int) -> Void)?
  private var nextTile = 0
  private var tileCount = 0
  private var runningTiles = 0
  private var isEnding = false

  init() {
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(start, nil)
    unsafe pthread_cond_init(finish, nil)
  }

  deinit {
    unsafe pthread_mutex_destroy(mutex)
    unsafe pthread_cond_destroy(start)
    unsafe pthread_cond_destroy(finish)
    unsafe mutex.deallocate()
    unsafe start.deallocate()
    unsafe finish.deallocate()
  }

  func run(tileCount: Int, _ body: @escaping (Int, Int) -> Void) {
    unsafe pthread_mutex_lock(mutex)
    work = body
    nextTile = 0
    self.tileCount = tileCount
    unsafe pthread_cond_broadcast(start)
    takeTiles(worker: 0)
    while runningTiles > 0 { unsafe pthread_cond_wait(finish, mutex) }
    work = nil
    unsafe pthread_mutex_unlock(mutex)
  }

  func serve(worker: Int) {
    unsafe pthread_mutex_lock(mutex)
    while true {
      while nextTile >= tileCount && !isEnding { unsafe pthread_cond_wait(start, mutex) }
      if isEnding { break }
      takeTiles(worker: worker)
      if runningTiles == 0 { unsafe pthread_cond_signal(finish) }
    }
    unsafe pthread_mutex_unlock(mutex)
  }

  func end() {
    unsafe pthread_mutex_lock(mutex)
    isEnding = true
    unsafe pthread_cond_broadcast(start)
    unsafe pthread_mutex_unlock(mutex)
  }

  /// Takes tiles until none is left; entered and left with the mutex held.
  private func takeTiles(worker: Int) {
    while nextTile < tileCount, let work {
      let tile = nextTile
      nextTile += 1
      runningTiles += 1
      unsafe pthread_mutex_unlock(mutex)
      work(tile, worker)
      unsafe pthread_mutex_lock(mutex)
      runningTiles -= 1
    }
  }
}
