internal import Glibc
internal import Support
internal import Synchronization

/// Takes note of what this rank does, for the thread that tells the supervisor; and carries the
/// supervisor's wish to stop the other way.
///
/// It costs a lock and a few stores, whether somebody listens or not.
package final class ProgressReporter: Sendable {
  private struct State {
    var report = RankReport()
    var isStopRequested = false
    var hasAnnouncedEnd = false
    /// Messages that are not sent yet.
    var outbox: [ControlMessage] = []
    /// Written to when the outbox has something; -1 while nobody sends.
    var wakeDescriptor: Int32 = -1
  }
  private let state = Mutex(State())

  package init() {}

  /// What the supervisor is told.
  package var report: RankReport { state.withLock { $0.report } }

  // MARK: What the rank does

  /// Begins a phase.
  ///
  /// - Parameters:
  ///   - phase: entered again for each step.
  ///   - step: of the run; nil leaves it.
  package func enter(_ phase: JobPhase, step: Int? = nil) {
    let descriptor = state.withLock { state in
      state.report.phase = phase
      if let step { state.report.step = step }
      state.report.entries += 1
      state.report.movesAtEntry = state.report.moves
      state.report.moves += 1
      return state.wakeDescriptor
    }
    Self.wake(descriptor)
  }

  /// Lets the sending thread send now. When it lags behind, the pipe is full and nothing is lost.
  private static func wake(_ descriptor: Int32) {
    guard descriptor >= 0 else { return }
    var byte: UInt8 = 1
    _ = unsafe write(descriptor, &byte, 1)
  }

  /// Part of a longer work is done: a layer, a file, a pack.
  package func move() { state.withLock { $0.report.moves += 1 } }

  /// Does something that ends only when the other ranks do it too.
  ///
  /// - Parameters:
  ///   - operation: its name, a word or two. All ranks name the same ones in the same order.
  ///   - body: the work.
  /// - Returns: what `body` returns.
  /// - Throws: what `body` throws.
  package func waiting<Result, Failure: Error>(
    in operation: String, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    state.withLock {
      $0.report.operation = operation
      $0.report.collectives += 1
      $0.report.moves += 1
    }
    let result = try body()
    state.withLock {
      $0.report.operation = ""
      $0.report.moves += 1
    }
    return result
  }

  // MARK: What the supervisor must know

  /// The run's directory, where a restart goes on; returns when it was sent.
  package func announceOutput(_ path: String) { send(.output(path)) }

  /// A checkpoint of this step is on disk.
  package func announceSaved(step: Int) { send(.saved(step: step)) }

  /// This rank ends with an error of its own; returns when it was sent.
  func announceFailure(_ text: String, code: Int32) {
    send(.failed(code: code, step: report.step, text: text))
  }

  /// This rank has left the others and ends.
  func announceEnd(code: Int32) {
    state.withLock { $0.hasAnnouncedEnd = true }
    send(.done(code: code))
  }

  /// Whether this rank has left the others.
  var hasAnnouncedEnd: Bool { state.withLock { $0.hasAnnouncedEnd } }

  /// Hands a message to the sending thread and waits a little for it to go out.
  private func send(_ message: ControlMessage) {
    let descriptor = state.withLock { state in
      if state.wakeDescriptor >= 0 { state.outbox.append(message) }
      return state.wakeDescriptor
    }
    guard descriptor >= 0 else { return }
    Self.wake(descriptor)
    let deadline = SteadyClock.seconds() + 2
    while state.withLock({ !$0.outbox.isEmpty }) && SteadyClock.seconds() < deadline {
      usleep(500)
    }
  }

  // MARK: The sending thread's side

  func attach(wakeDescriptor: Int32) { state.withLock { $0.wakeDescriptor = wakeDescriptor } }

  /// The messages to send; they stay until ``didSend(_:)``.
  var outbox: [ControlMessage] { state.withLock { $0.outbox } }

  func didSend(_ count: Int) { state.withLock { $0.outbox.removeFirst(count) } }

  // MARK: Stopping

  /// Whether the job was asked to save and end. Ranks may see it at different times and have to
  /// agree on a step.
  package var isStopRequested: Bool { state.withLock { $0.isStopRequested } }

  /// Asks this rank to save and end at the next boundary of a step.
  package func requestStop() { state.withLock { $0.isStopRequested = true } }
}
