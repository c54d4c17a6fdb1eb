internal import Glibc

/// The angles of rotary position embeddings.
///
/// Source: Su et al. 2021, arXiv:2104.09864; the scaling as published with Llama 3.1.
enum RotaryTable {
  /// Cosines of all positions, then sines: `[2 * positions, D / 2]`.
  static func values(_ configuration: ModelConfiguration, positionCount: Int) -> [Float] {
    let frequencies = inverseFrequencies(configuration)
    var cosines: [Float] = []
    var sines: [Float] = []
    cosines.reserveCapacity(positionCount * frequencies.count)
    sines.reserveCapacity(positionCount * frequencies.count)
    for position in 0..<positionCount {
      for frequency in frequencies {
        // The angle is rounded to float32 as in the reference, then exact functions are taken.
        let angle = Double(Float(position) * frequency)
        cosines.append(Float(cos(angle)))
        sines.append(Float(sin(angle)))
      }
    }
    return cosines + sines
  }

  /// `theta^(-2 i / D)`, float32, stretched where the configuration asks for it.
  static func inverseFrequencies(_ configuration: ModelConfiguration) -> [Float] {
    let width = configuration.headWidth
    return (0..<width / 2).map { index in
      let exponent = Double(Float(2 * index) / Float(width))
      let frequency = 1 / Float(pow(configuration.ropeTheta, exponent))
      guard let scaling = configuration.ropeScaling else { return frequency }
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
  }
}
