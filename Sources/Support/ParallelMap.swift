internal import Glibc
internal import Synchronization

/// Work of many independent parts on several threads.
package enum ParallelMap {
  /// The state that the threads of one call share.
  private final class Shared<Value: Sendable>: Sendable {
    let next = Atomic<Int>(0)
    let results: Mutex<[Result<Value, any Error>?]>
    let count: Int
    let body: @Sendable (Int) throws -> Value

    init(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Value) {
      self.count = count
      self.body = body
      results = Mutex(Array(repeating: nil, count: count))
    }

    func work() {
      while true {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard index < count else { return }
        let result = Result { try body(index) }
        results.withLock { $0[index] = result }
      }
    }
  }

  /// What a new thread runs.
  private final class Start: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Computes `count` values, which do not depend on the number of threads.
  ///
  /// - Parameters:
  ///   - count: how many parts there are.
  ///   - threads: how many threads work, the calling one among them. Where the system has fewer
  ///     left, those that there are do the work.
  ///   - body: computes a part from its number.
  /// - Returns: the values in order.
  /// - Throws: what the first part that failed has thrown.
  package static func values<Value: Sendable>(
    count: Int, threads: Int, _ body: @escaping @Sendable (Int) throws -> Value
  ) throws -> [Value] {
    guard threads > 1, count > 1 else { return try (0..<count).map(body) }
    let shared = Shared(count, body)
    var started: [pthread_t] = []
    for _ in 1..<min(threads, count) {
      var thread = pthread_t()
      let start = unsafe Unmanaged.passRetained(Start { shared.work() })
      let code = unsafe pthread_create(
        &thread, nil,
        { start in
          guard let start = unsafe start else { return nil }
          unsafe Unmanaged<Start>.fromOpaque(start).takeRetainedValue().body()
          return nil
        }, start.toOpaque())
      guard code == 0 else {
        unsafe start.release()
        break
      }
      started.append(thread)
    }
    shared.work()
    for thread in started { pthread_join(thread, nil) }
    return try shared.results.withLock { $0.compactMap { $0 } }.map { try $0.get() }
  }
}
