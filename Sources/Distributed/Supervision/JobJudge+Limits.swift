package import Support

extension JobJudge {
  /// How long a rank may be silent or stand still.
  package struct Limits: Sendable, Equatable {
    /// Seconds without a word before a rank counts as stopped or cut off.
    package var silence = 3.5
    /// Seconds without progress, by phase, before a rank counts as stuck. A busy disk may take
    /// minutes to make a checkpoint durable.
    package var phases: [JobPhase: Double] = [.checkpoint: 300, .finishing: 300]
    /// For phases that are not named.
    package var seconds = 60.0
    /// A rank may take this many times the longest time seen in its phase.
    package var factor = 5.0
    /// A phase that no rank has ended before may take this many times its seconds, as long as the
    /// rank moves: nothing is known yet about its length, and caches are cold.
    package var firstFactor = 60.0

    package init() {}

    func minimum(_ phase: JobPhase) -> Double { phases[phase] ?? seconds }

    /// Reads `600`, or `step=120,loading=600`.
    ///
    /// - Parameters:
    ///   - text: of a flag or variable.
    ///   - place: its name.
    /// - Throws: ``UserError`` that names the place.
    package mutating func set(_ text: String, at place: String) throws(UserError) {
      for part in text.split(separator: ",", omittingEmptySubsequences: false) {
        let words = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let number = try LaunchOptions.number(
          String(words.last ?? ""), 1...1_000_000, at: place)
        guard words.count == 2 else {
          seconds = number
          phases = [:]
          continue
        }
        guard let phase = JobPhase(rawValue: String(words[0])) else {
          throw UserError(
            .usage, at: place, "there is no phase \"\(words[0].prefix(80))\"",
            fix: "phases are " + JobPhase.allCases.map(\.rawValue).joined(separator: ", "))
        }
        phases[phase] = number
      }
    }
  }
}
