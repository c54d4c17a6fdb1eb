/// The characters that byte-level vocabularies write bytes with, after GPT-2: visible characters of
/// Latin-1 stand for themselves, the other bytes for U+0100 and on.
enum ByteAlphabet {
  /// The character of each byte.
  static let characters: [Unicode.Scalar] = {
    var next: UInt32 = 0x100
    return (0...255).map { (byte: UInt32) in
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Unicode.Scalar(UInt8(byte))
      default:
        defer { next += 1 }
        return Unicode.Scalar(next) ?? " "
      }
    }
  }()

  private static let values: [UInt32: UInt8] = {
    var values: [UInt32: UInt8] = [:]
    for (byte, scalar) in characters.enumerated() { values[scalar.value] = UInt8(byte) }
    return values
  }()

  /// The bytes that a text of the alphabet stands for; nil where another character is in it.
  static func decoded(_ text: String) -> [UInt8]? {
    var result: [UInt8] = []
    for scalar in text.unicodeScalars {
      guard let byte = values[scalar.value] else { return nil }
      result.append(byte)
    }
    return result
  }

  /// The bytes that a token stands for: a token with other characters stands for itself.
  static func bytes(_ token: [UInt8]) -> [UInt8] {
    decoded(String(decoding: token, as: UTF8.self)) ?? token
  }
}
