internal import Glibc

/// The angles of rotary position embeddings.
///
/// Source: Su et al. 2021, arXiv:2104.09864; the scaling as published with Llama 3.1; Peng et al. 2023,
/// arXiv:2309.00071 (YaRN).
enum RotaryTable {
  /// Cosines of all positions, then sines: `[2 * positions, D / 2]`.
  static func values(_ configuration: ModelConfiguration, positionCount: Int) -> [Float] {
    let frequencies = inverseFrequencies(configuration)
    var factor: Float = 1
    if case .yarn(let yarn)? = configuration.ropeScaling { factor = Float(yarn.attentionFactor) }
    var cosines: [Float] = []
    var sines: [Float] = []
    cosines.reserveCapacity(positionCount * frequencies.count)
    sines.reserveCapacity(positionCount * frequencies.count)
    for position in 0..<positionCount {
      for frequency in frequencies {
        // The angle is rounded to float32 as in the reference, then exact functions are taken.
        let angle = Double(Float(position) * frequency)
        cosines.append(Float(cos(angle)) * factor)
        sines.append(Float(sin(angle)) * factor)
      }
    }
    return cosines + sines
  }

  /// `theta^(-2 i / D)`, float32, stretched where the configuration asks for it.
  static func inverseFrequencies(_ configuration: ModelConfiguration) -> [Float] {
    let width = configuration.headWidth
    let ramp = ramp(configuration)
    return (0..<width / 2).map { index in
      let exponent = Double(Float(2 * index) / Float(width))
      let frequency = 1 / Float(pow(configuration.ropeTheta, exponent))
      switch configuration.ropeScaling {
      case nil: return frequency
      case .linear(let factor): return frequency / Float(factor)
      case .llama3(let scaling): return stretched(frequency, scaling)
      case .yarn(let yarn):
        // How much of the frequency is divided.
        let share = min(max((Double(index) - ramp.low) / (ramp.high - ramp.low), 0), 1)
        return Float(
          Double(frequency) / yarn.factor * share + Double(frequency) * (1 - share))
      }
    }
  }

  private static func stretched(_ frequency: Float, _ scaling: RotaryScaling.Llama3) -> Float {
    let wavelength = 2 * Double.pi / Double(frequency)
    let low = scaling.originalPositionCount / scaling.lowFrequencyFactor
    let high = scaling.originalPositionCount / scaling.highFrequencyFactor
    if wavelength < high { return frequency }
    if wavelength > low { return Float(Double(frequency) / scaling.factor) }
    let smooth =
      (scaling.originalPositionCount / wavelength - scaling.lowFrequencyFactor)
      / (scaling.highFrequencyFactor - scaling.lowFrequencyFactor)
    return Float(
      (1 - smooth) * Double(frequency) / scaling.factor + smooth * Double(frequency))
  }

  /// Between which frequencies YaRN passes from keeping to dividing.
  private static func ramp(_ configuration: ModelConfiguration) -> (low: Double, high: Double) {
    guard case .yarn(let yarn)? = configuration.ropeScaling else { return (0, 1) }
    let width = Double(configuration.headWidth)
    /// The frequency that makes so many rotations over the original positions.
    func index(rotations: Double) -> Double {
      width * log(yarn.originalPositionCount / (rotations * 2 * .pi))
        / (2 * log(configuration.ropeTheta))
    }
    var low = index(rotations: yarn.fastRotations)
    var high = index(rotations: yarn.slowRotations)
    if yarn.isTruncated {
      low = low.rounded(.down)
      high = high.rounded(.up)
    }
    low = max(low, 0)
    high = min(high, width - 1)
    // A step where both meet.
    return (low, low == high ? high + 0.001 : high)
  }
}
