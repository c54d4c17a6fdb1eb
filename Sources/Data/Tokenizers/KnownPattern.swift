/// Patterns that tokenizers use without writing them into their files.
enum KnownPattern {
  private static let contractions = "'s|'t|'re|'ve|'m|'ll|'d"

  /// GPT-2's, which ByteLevel splits with.
  static let gpt2Text =
    contractions + #"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  /// Llama 3's.
  static let llama3Text =
    "(?i:\(contractions))"
    + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// Qwen 2's and Qwen 3's.
  static let qwen2Text =
    "(?i:\(contractions))"
    + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// `\w+|[^\w\s]+` with `\w` as Rust's regular expressions have it.
  static let words: PatternNode = {
    let joiners: [ClosedRange<UInt32>] = [0x200C...0x200D]
    // Circled and parenthesized letters count as letters, other numbers do not.
    let letterNumbers: [ClosedRange<UInt32>] = [
      0x24B6...0x24E9, 0x1F130...0x1F149,
      0x1F150...0x1F169, 0x1F170...0x1F189,
    ]
    let word = ScalarSet(
      union: UnicodeClass.letter.ranges + UnicodeClass.mark.ranges + UnicodeClass.digit.ranges
        + UnicodeCategory.Nl.set.ranges + UnicodeCategory.Pc.set.ranges + joiners + letterNumbers)
    let rest = ScalarSet(union: word.ranges + UnicodeClass.space.ranges).inverted
    return .choice([oneOrMore(word), oneOrMore(rest)])
  }()

  /// Punctuation, and all of ASCII's symbols.
  static let punctuation = PatternNode.set(
    ScalarSet(
      union: UnicodeClass.punctuation.ranges + [
        0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E,
      ]))

  private static func oneOrMore(_ set: ScalarSet) -> PatternNode {
    .repetition(.set(set), minimum: 1, maximum: nil, .greedy)
  }
}
