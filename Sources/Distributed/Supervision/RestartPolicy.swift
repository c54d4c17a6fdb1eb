internal import Support

/// How an attempt to run a job ended that did not end well.
package struct JobFailure: Sendable, Equatable {
  package var exitCode: Int32
  /// The error that a rank has thrown and the step it was at; nil when it was ended otherwise.
  package var error: ThrownError?
  /// The newest checkpoint; 0 when there is none.
  package var savedStep: Int
  /// Whether any rank has started.
  package var hasStarted: Bool

  package struct ThrownError: Sendable, Equatable {
    package var step: Int
    package var text: String

    package init(step: Int, text: String) {
      self.step = step
      self.text = text
    }
  }

  package init(exitCode: Int32, error: ThrownError?, savedStep: Int, hasStarted: Bool) {
    self.exitCode = exitCode
    self.error = error
    self.savedStep = savedStep
    self.hasStarted = hasStarted
  }
}

/// Whether a job is started again after a failure.
package struct RestartPolicy: Sendable {
  package enum Decision: Sendable, Equatable {
    case restart(number: Int, delay: Double)
    /// With the reason, where there is something to tell.
    case giveUp(String?)
  }

  private let maximum: Int
  /// Restarts since a checkpoint was last written.
  private var used = 0
  private var savedStep = 0
  private var lastError: JobFailure.ThrownError?
  private var hasEverStarted = false

  private static let longestDelay = 60.0

  /// - Parameter maximum: restarts without a new checkpoint in between.
  package init(maximum: Int) { self.maximum = maximum }

  /// Decides after a failure.
  package mutating func decide(_ failure: JobFailure) -> Decision {
    hasEverStarted = hasEverStarted || failure.hasStarted
    defer { lastError = failure.error }
    guard maximum > 0 else { return .giveUp(nil) }
    switch failure.exitCode {
    case ExitCode.success, ExitCode.savedPleaseRequeue: return .giveUp(nil)
    case ExitCode.usage:
      return .giveUp("not restarted: a wrong setting or input stays wrong")
    case ExitCode.notFinite:
      return .giveUp("not restarted: a number that is not finite comes back at the same step")
    default: break
    }
    guard hasEverStarted else { return .giveUp("not restarted: no rank has started") }
    if let error = failure.error, error == lastError {
      return .giveUp("not restarted: the same error at the same step twice")
    }
    if failure.savedStep > savedStep {
      savedStep = failure.savedStep
      used = 0
    }
    guard used < maximum else {
      return .giveUp(
        "not restarted: \(used) \(used == 1 ? "restart" : "restarts") without a new checkpoint")
    }
    used += 1
    var delay = 1.0
    for _ in 1..<used where delay < Self.longestDelay { delay *= 2 }
    return .restart(number: used, delay: min(delay, Self.longestDelay))
  }
}
