internal import Glibc
internal import Support

/// How rotary frequencies are stretched for texts longer than those of the pretraining.
package enum RotaryScaling: Sendable, Equatable {
  /// All frequencies are divided.
  case linear(factor: Double)
  /// Llama 3.1's: the low ones are divided, those between blended.
  case llama3(Llama3)
  /// YaRN: a ramp over the frequencies, and a factor for the rotated vectors.
  case yarn(YaRN)

  package struct Llama3: Sendable, Equatable {
    package var factor: Double
    package var lowFrequencyFactor: Double
    package var highFrequencyFactor: Double
    package var originalPositionCount: Double
  }

  package struct YaRN: Sendable, Equatable {
    package var factor: Double
    package var originalPositionCount: Double
    /// Rotations over the original positions above which a frequency stays, and below which it is
    /// divided.
    package var fastRotations: Double
    package var slowRotations: Double
    /// Whether the ramp begins and ends at whole frequencies.
    package var isTruncated: Bool
    /// Factor of cosines and sines.
    package var attentionFactor: Double
  }
}

extension ConfigurationReader {
  /// Base and scaling of the rotary embedding, in the Hub's form (`rope_theta`, `rope_scaling`)
  /// or that of transformers 5 (`rope_parameters`).
  func rotary(defaultTheta: Double, positionCount: Int) throws(UserError) -> (
    theta: Double, scaling: RotaryScaling?
  ) {
    let outer = try number("rope_theta", default: defaultTheta)
    let member = has("rope_scaling") ? "rope_scaling" : "rope_parameters"
    // The base lies beside the scaling in transformers 5.
    let theta =
      try json["rope_parameters"].map { value throws(UserError) in
        try ConfigurationReader(json: value, path: path).number("rope_theta", default: outer)
      } ?? outer
    guard theta > 0 else { throw error("rope_theta: \(theta) must be above zero") }
    guard let value = json[member], !value.isNull else { return (theta, nil) }
    guard let object = value.objectValue else { throw error("\(member) is no object") }
    let settings = RotarySettings(
      reader: ConfigurationReader(json: value, path: path), member: member,
      positionCount: positionCount)
    if let part = value["partial_rotary_factor"], !part.isNull, part.doubleValue != 1 {
      throw error("\(member).partial_rotary_factor: \(part.compactText) is not implemented")
    }
    let kind = value["rope_type"]?.stringValue ?? value["type"]?.stringValue ?? "default"
    let scaling: RotaryScaling?
    let known: Set<String>
    switch kind {
    case "default":
      scaling = nil
      // Settings of other kinds lie unused beside a default.
      known = Set(object.names)
    case "linear":
      scaling = .linear(factor: try settings.factor())
      known = ["factor"]
    case "llama3":
      scaling = .llama3(try settings.llama3())
      known = [
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
      ]
    case "yarn":
      scaling = .yarn(try settings.yarn(theta: theta))
      known = [
        "factor", "original_max_position_embeddings", "attention_factor", "beta_fast",
        "beta_slow", "mscale", "mscale_all_dim", "truncate",
      ]
    default:
      throw error(
        "\(member): type \(kind.prefix(40)) is not implemented, only default, linear, llama3 and "
          + "yarn")
    }
    let always: Set<String> = ["rope_type", "type", "rope_theta", "partial_rotary_factor"]
    for (name, value) in object.members
    where !value.isNull && !known.contains(name) && !always.contains(name) {
      throw error(
        "\(member).\(name.prefix(80)): \(value.compactText.prefix(80)) is not known for "
          + "type \(kind)")
    }
    return (theta, scaling)
  }
}

/// Reads the numbers of a scaling.
private struct RotarySettings {
  let reader: ConfigurationReader
  let member: String
  let positionCount: Int

  func factor() throws(UserError) -> Double {
    let factor = try reader.number("factor")
    guard factor >= 1 else { throw reader.error("\(member).factor: \(factor) is less than 1") }
    return factor
  }

  /// A number that is needed and not zero.
  private func positive(_ name: String, default fallback: Double? = nil) throws(UserError)
    -> Double
  {
    let value = try reader.number(name, default: fallback)
    guard value > 0 else { throw reader.error("\(member).\(name): \(value) must be above zero") }
    return value
  }

  func llama3() throws(UserError) -> RotaryScaling.Llama3 {
    let result = RotaryScaling.Llama3(
      factor: try factor(), lowFrequencyFactor: try positive("low_freq_factor"),
      highFrequencyFactor: try positive("high_freq_factor"),
      originalPositionCount: try positive(
        "original_max_position_embeddings", default: Double(positionCount)))
    guard result.highFrequencyFactor > result.lowFrequencyFactor else {
      throw reader.error("\(member): high_freq_factor must be greater than low_freq_factor")
    }
    return result
  }

  func yarn(theta: Double) throws(UserError) -> RotaryScaling.YaRN {
    guard theta != 1 else { throw reader.error("rope_theta: 1 has no frequencies to stretch") }
    let factor = try factor()
    func magnitude(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
    let scale = try reader.number("mscale", default: 0)
    let scaleOfAll = try reader.number("mscale_all_dim", default: 0)
    let standard =
      scale > 0 && scaleOfAll > 0 ? magnitude(scale) / magnitude(scaleOfAll) : magnitude(1)
    // Zero and missing mean the default, as in transformers.
    func rotations(_ name: String, _ fallback: Double) throws(UserError) -> Double {
      let value = try reader.number(name, default: fallback)
      return value > 0 ? value : fallback
    }
    return RotaryScaling.YaRN(
      factor: factor,
      originalPositionCount: try positive(
        "original_max_position_embeddings", default: Double(positionCount)),
      fastRotations: try rotations("beta_fast", 32), slowRotations: try rotations("beta_slow", 1),
      isTruncated: try reader.flag("truncate", default: true),
      attentionFactor: try reader.number("attention_factor", default: standard))
  }
}
