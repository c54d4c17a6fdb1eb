internal import Glibc

/// The learning rate of each step, as transformers' schedulers define it: linear warm-up from zero
/// (the first warm-up step has rate exactly 0), then constant, linear to zero, or half a cosine.
package struct LearningRateSchedule: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable {
    case constant
    case linear
    case cosine
  }

  package var kind: Kind
  package var peak: Double
  package var warmupSteps: Int
  package var totalSteps: Int

  package init(kind: Kind, peak: Double, warmupSteps: Int, totalSteps: Int) {
    self.kind = kind
    self.peak = peak
    self.warmupSteps = warmupSteps
    self.totalSteps = totalSteps
  }

  /// The rate of a step.
  ///
  /// - Parameter step: 1-based.
  /// - Returns: the rate.
  package func rate(step: Int) -> Double {
    let done = step - 1
    if done < warmupSteps { return peak * (Double(done) / Double(max(1, warmupSteps))) }
    let progress = Double(done - warmupSteps) / Double(max(1, totalSteps - warmupSteps))
    switch kind {
    case .constant: return peak
    case .linear: return peak * max(0, 1 - progress)
    case .cosine: return peak * max(0, 0.5 * (1 + cos(Double.pi * progress)))
    }
  }
}
