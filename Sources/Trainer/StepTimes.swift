internal import Support

/// Where the time of a step went on this rank. A part ends when the device has done its work; the
/// exchange that goes on while the last backward pass runs is not seen.
package struct StepTimes: Sendable, Equatable {
  package enum Part: String, Sendable, CaseIterable {
    case data
    /// With the loss.
    case forward
    case backward
    /// Sums of gradients and of scalars over the ranks, and the gathering of the new weights.
    case exchange
    case optimizer
  }

  private var seconds: [Part: Double] = [:]

  package init() {}

  package subscript(_ part: Part) -> Double { seconds[part] ?? 0 }

  /// Adds what `body` takes to a part.
  package mutating func measure<Result>(_ part: Part, _ body: () throws -> Result) rethrows
    -> Result
  {
    let start = SteadyClock.seconds()
    defer { seconds[part, default: 0] += SteadyClock.seconds() - start }
    return try body()
  }
}
