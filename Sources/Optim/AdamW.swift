package import Compute
internal import Glibc

/// Settings of AdamW; the defaults are torch's but for the weight decay.
package struct AdamWSettings: Sendable, Equatable {
  package var beta1: Double
  package var beta2: Double
  package var epsilon: Double
  package var weightDecay: Double

  package init(
    beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0
  ) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }
}

/// AdamW over a slice of the flat weights, with its moments.
///
/// Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, in the form of torch.optim.AdamW.
package struct AdamW {
  package let settings: AdamWSettings
  /// `[1, slice]` float32 each.
  package let firstMoment: Tensor
  package let secondMoment: Tensor

  /// Moments of zero.
  ///
  /// - Parameters:
  ///   - settings: of the optimizer.
  ///   - count: weights of the slice.
  ///   - backend: holds the moments.
  /// - Throws: ``ComputeError`` when the device has too little memory.
  package init(_ settings: AdamWSettings, count: Int, backend: any Backend) throws(ComputeError) {
    self.settings = settings
    firstMoment = Tensor(
      storage: try backend.makeStorage(byteCount: max(4 * count, 4)), columns: count)
    secondMoment = Tensor(
      storage: try backend.makeStorage(byteCount: max(4 * count, 4)), columns: count)
  }

  /// The update of a step, for all weights.
  ///
  /// - Parameters:
  ///   - step: 1-based.
  ///   - learningRate: of the step.
  ///   - gradientScale: the factor that clips the gradients.
  /// - Returns: what ``apply(_:weights:gradients:range:backend:)`` takes.
  package func update(step: Int, learningRate: Double, gradientScale: Double) -> AdamWUpdate {
    AdamWUpdate(
      learningRate: learningRate, beta1: settings.beta1, beta2: settings.beta2,
      epsilon: settings.epsilon, weightDecay: settings.weightDecay,
      biasCorrection1: 1 - pow(settings.beta1, Double(step)),
      biasCorrection2: 1 - pow(settings.beta2, Double(step)), gradientScale: gradientScale)
  }

  /// Updates some weights of the slice.
  ///
  /// - Parameters:
  ///   - update: of the step.
  ///   - weights: updated.
  ///   - gradients: of the same weights, before clipping.
  ///   - range: where the weights lie in the slice.
  ///   - backend: computes.
  /// - Throws: ``ComputeError`` if the device fails.
  package func apply(
    _ update: AdamWUpdate, weights: Tensor, gradients: Tensor, range: Range<Int>,
    backend: any Backend
  ) throws(ComputeError) {
    guard !range.isEmpty else { return }
    try backend.adamW(
      weights: weights, gradients: gradients, firstMoment: firstMoment.elements(range),
      secondMoment: secondMoment.elements(range), update: update)
  }
}

/// Clipping by the global norm, as torch's `clip_grad_norm_`.
package enum GradientClipping {
  /// The factor that brings a norm down to the largest allowed one; 1 when it is not above.
  ///
  /// - Parameters:
  ///   - norm: of all gradients.
  ///   - maximum: the largest norm; zero or less never clips.
  package static func scale(norm: Double, maximum: Double) -> Double {
    maximum > 0 ? min(1, maximum / (norm + 1e-6)) : 1
  }
}
