internal import Glibc

/// A thread that runs as long as the process.
package enum BackgroundThread {
  private final class Start: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Runs `body` on a new thread that takes no signals.
  ///
  /// - Parameter body: the thread's work.
  /// - Throws: ``UserError`` when the system has no thread left.
  package static func start(_ body: @escaping @Sendable () -> Void) throws(UserError) {
    var all = sigset_t()
    var before = sigset_t()
    unsafe sigfillset(&all)
    // A new thread has the mask of the one that makes it.
    unsafe pthread_sigmask(SIG_BLOCK, &all, &before)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
    var thread = pthread_t()
    let start = unsafe Unmanaged.passRetained(Start(body)).toOpaque()
    let code = unsafe pthread_create(
      &thread, nil,
      { start in
        guard let start = unsafe start else { return nil }
        unsafe Unmanaged<Start>.fromOpaque(start).takeRetainedValue().body()
        return nil
      }, start)
    guard code == 0 else {
      throw UserError(.system, "cannot start a thread: \(systemErrorText(code))")
    }
    pthread_detach(thread)
  }
}
