/// What a rank is doing, in the large.
package enum JobPhase: String, Sendable, CaseIterable {
  /// Joining the others.
  case starting
  /// Reading the base.
  case loading
  /// Reading samples and planning.
  case data
  case step, evaluation, checkpoint
  /// Writing the results and leaving.
  case finishing
}

/// Where a rank is, as it tells whoever supervises the job.
package struct RankReport: Sendable, Equatable {
  package var phase = JobPhase.starting
  /// 1-based; 0 before the first.
  package var step = 0
  /// Phases entered so far; the same phase may be entered again and again.
  package var entries = 0
  /// The collective that the rank waits in; empty while it computes.
  package var operation = ""
  /// Collectives entered so far. Every rank enters the same ones, so the rank with the fewest is
  /// behind.
  package var collectives = 0
  /// Grows with all that the rank does; a rank whose count stands still does nothing. One whose
  /// count grows may still go round in circles.
  package var moves = 0
  /// ``moves`` when the rank entered its phase.
  package var movesAtEntry = 0

  package init() {}

  /// For people: `phase step, step 12, waiting in exchange`.
  package var text: String {
    var text = "phase \(phase.rawValue)"
    if step > 0 { text += ", step \(step)" }
    return text + (operation.isEmpty ? "" : ", waiting in \(operation)")
  }
}
