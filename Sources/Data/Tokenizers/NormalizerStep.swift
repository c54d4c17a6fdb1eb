/// One change of the text before it is cut into tokens (`normalizer`).
enum NormalizerStep: Sendable {
  /// Puts a text in front of every section that is not empty.
  case prepend([UInt8])
  case replace(TextPattern, content: [UInt8])
  case form(UnicodeNormalization)
  case lowercase
  /// Takes white space away at the ends.
  case strip(left: Bool, right: Bool)
  /// Takes all marks away.
  case stripAccents

  /// The text after this step.
  func apply(_ bytes: [UInt8], skipsPrefix: Bool) throws(PatternError) -> [UInt8] {
    switch self {
    case .prepend(let prefix): return bytes.isEmpty || skipsPrefix ? bytes : prefix + bytes
    case .replace(let pattern, let content): return try pattern.replacing(in: bytes, with: content)
    case .form(let form): return form.apply(bytes)
    case .lowercase:
      var result: [UInt8] = []
      result.reserveCapacity(bytes.count)
      for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
        result += scalar.properties.lowercaseMapping.utf8
      }
      return result
    case .strip(let left, let right):
      var scalars = String(decoding: bytes, as: UTF8.self).unicodeScalars[...]
      func isSpace(_ scalar: Unicode.Scalar) -> Bool { UnicodeClass.space.contains(scalar.value) }
      if left { scalars = scalars.drop(while: isSpace) }
      while right, let last = scalars.last, isSpace(last) { scalars.removeLast() }
      return Array(String(scalars).utf8)
    case .stripAccents:
      var result: [UInt8] = []
      for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars
      where !UnicodeClass.mark.contains(scalar.value) {
        UTF8Scanner.append(scalar.value, to: &result)
      }
      return result
    }
  }
}
