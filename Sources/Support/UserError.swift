/// A failure that is reported to the user as *what, where, rule, fix*.
///
/// User mistakes and bad input are thrown as `UserError`; programmer mistakes are preconditions.
package struct UserError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What kind of failure it is; decides the exit code and whether a restart can help.
  package enum Kind: Sendable, Equatable {
    /// A flag, a configuration file or a combination of settings is wrong.
    case usage
    /// A file from outside is missing, broken or does not fit.
    case badInput
    /// The operating system refused: disk full, permission, read error.
    case system
    /// A loss, a norm or a weight is not a finite number.
    case notFinite
    /// Another rank, a host or the network failed.
    case distributed
  }

  package var kind: Kind
  /// Where the value came from, for example `notes.jsonl:17` or `--lr`. Empty when nowhere in particular.
  package var location: String
  /// What is wrong, with the value, and the rule it breaks.
  package var message: String
  /// What the user can do about it. Empty when nothing is known to help.
  package var fix: String

  package init(_ kind: Kind, at location: String = "", _ message: String, fix: String = "") {
    self.kind = kind
    self.location = location
    self.message = message
    self.fix = fix
  }

  /// `location: message` and, on a line of its own, `fix: ...`.
  package var description: String {
    var text = location.isEmpty ? message : "\(location): \(message)"
    if !fix.isEmpty { text += "\n  fix: \(fix)" }
    return text
  }

  /// `location: message`, for warnings.
  package var unfixed: String { location.isEmpty ? message : "\(location): \(message)" }

  /// The process exit code that this failure ends with; the README lists them.
  package var exitCode: Int32 {
    switch kind {
    case .usage, .badInput: ExitCode.usage
    case .notFinite: ExitCode.notFinite
    case .system, .distributed: ExitCode.failure
    }
  }
}

/// Exit codes of `accelerate-swift`.
package enum ExitCode {
  /// Done.
  package static let success: Int32 = 0
  /// Any failure that has no code of its own.
  package static let failure: Int32 = 1
  /// A flag, a configuration or an input file is wrong; running again changes nothing.
  package static let usage: Int32 = 2
  /// A loss or norm was not finite; the step was not applied.
  package static let notFinite: Int32 = 3
  /// The launcher's supervision ended the job.
  package static let supervised: Int32 = 71
  /// Stopped on request after saving; run again with `--resume` (EX_TEMPFAIL).
  package static let savedPleaseRequeue: Int32 = 75
  /// A rank heard nothing from its launcher and ended itself.
  package static let leaseExpired: Int32 = 76
}
