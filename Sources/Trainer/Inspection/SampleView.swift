internal import Data

/// A sample as text, with the trained tokens marked.
struct SampleView {
  let tokenizer: any Tokenizer
  /// Colour on a terminal, brackets in a file.
  let usesColour: Bool

  /// The text of a sample; tokens without text are named.
  func text(_ sample: Sample) -> String {
    var text = ""
    var decoder = StreamingDecoder(tokenizer)
    var isTrained = false
    func mark(_ trained: Bool) {
      guard trained != isTrained else { return }
      isTrained = trained
      text +=
        usesColour ? (trained ? "\u{1B}[32m" : "\u{1B}[0m") : (trained ? "\u{27E6}" : "\u{27E7}")
    }
    for (index, token) in sample.tokens.enumerated() {
      // A character of several tokens is shown with its last.
      let piece: String
      if tokenizer.continuationBytes(of: token).isEmpty {
        text += Self.visible(decoder.finish())
        decoder = StreamingDecoder(tokenizer)
        piece = name(of: token)
      } else {
        piece = Self.visible(decoder.append(token))
      }
      mark(index > 0 && sample.labels[index] != Sample.ignoredLabel)
      text += piece
    }
    text += Self.visible(decoder.finish())
    mark(false)
    return text
  }

  private func name(of token: Int32) -> String {
    switch token {
    case tokenizer.eosID: "<end>"
    case tokenizer.bosID: "<begin>"
    default: "<token \(token)>"
    }
  }

  /// Control characters by their number: data must not command a terminal.
  private static func visible(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      if scalar.value < 0x20 && scalar != "\n" && scalar != "\t"
        || (0x7F..<0xA0).contains(scalar.value)
      {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
