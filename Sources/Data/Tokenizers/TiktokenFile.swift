internal import Support

/// A tiktoken file (`tokenizer.model` of Llama 3): on each line a token in base64 and its rank.
enum TiktokenFile {
  /// The special tokens that Llama 3 has after its ranks, of which there are 256.
  private static let llama3Tokens = [
    "begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
    "finetune_right_pad_id", "step_id", "start_header_id", "end_header_id", "eom_id", "eot_id",
    "python_tag", "image",
  ]
  private static let llama3RankCount = 128_000
  private static let specialCount = 256
  private static let tokenByteLimit = 1024

  /// Whether bytes begin like such a file: base64, a space, a number.
  static func isOne(_ bytes: [UInt8]) -> Bool {
    let line = bytes.prefix(2048).prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
    let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    return parts.count == 2 && decoded(parts[0]) != nil && number(parts[1]) != nil
  }

  /// Reads a file.
  ///
  /// - Parameters:
  ///   - bytes: its content.
  ///   - addedTokens: those that other files of the directory name; empty for Llama 3's own.
  ///   - path: what errors call it.
  /// - Returns: a definition that encodes as tiktoken does.
  /// - Throws: `UserError` with the line that is wrong.
  static func read(_ bytes: [UInt8], addedTokens: [AddedToken], path: String)
    throws(UserError) -> TokenizerDefinition
  {
    let source = TokenizerSource(path: path)
    var ranks: [[UInt8]: Int32] = [:]
    var tokens: [[UInt8]] = []
    var line = 0
    for text in bytes.split(separator: UInt8(ascii: "\n")) {
      line += 1
      func fail(_ reason: String) -> UserError {
        UserError(
          .badInput, at: "\(path):\(line)", reason,
          fix: "download the file again from where the model came from")
      }
      let parts = text.split(separator: UInt8(ascii: " "))
      guard parts.count == 2, let token = decoded(parts[0]), !token.isEmpty,
        token.count <= tokenByteLimit, let rank = number(parts[1])
      else { throw fail("the line is not a token in base64 and its rank") }
      guard rank == tokens.count else {
        throw fail("the rank is \(rank), but \(tokens.count) tokens come before it")
      }
      guard tokens.count < TokenizerDefinition.idLimit else { throw fail("too many tokens") }
      guard ranks.updateValue(Int32(rank), forKey: token) == nil else {
        throw fail("the token stands in the file twice")
      }
      tokens.append(token)
    }
    var definition = TokenizerDefinition()
    for (id, token) in tokens.enumerated() {
      let text = String(String.UnicodeScalarView(token.map { ByteAlphabet.characters[Int($0)] }))
      definition.vocabulary[ExactString(text)] = Int32(id)
    }
    for byte in UInt8.min...UInt8.max where ranks[[byte]] == nil {
      throw source.broken("the byte \(byte) has no token")
    }
    // A token may come about from any two others; the one with the lowest rank is made first.
    for (id, token) in tokens.enumerated() where token.count > 1 {
      for cut in 1..<token.count {
        if let left = ranks[Array(token[..<cut])], let right = ranks[Array(token[cut...])] {
          definition.merges.append((left, right, Int32(id)))
        }
      }
    }
    definition.ranksAreIDs = true
    definition.ignoresMerges = true
    definition.preTokenizer = [
      .split(
        try source.known(text: KnownPattern.llama3Text), .isolated, isInverted: false),
      .byteLevel,
    ]
    definition.decoder = [.byteLevel]
    if !addedTokens.isEmpty {
      try definition.add(addedTokens, source)
    } else if tokens.count == llama3RankCount {
      try definition.add(llama3AddedTokens, source)
      definition.tokensBefore = ["<|begin_of_text|>"]
    } else {
      throw source.unsupported(
        "a file of \(tokens.count) ranks (Llama 3 has \(llama3RankCount)) without the special "
          + "tokens that added_tokens_decoder of tokenizer_config.json names")
    }
    definition.settleVocabularySize()
    return definition
  }

  private static var llama3AddedTokens: [AddedToken] {
    let reserved = (2..<specialCount - llama3Tokens.count + 2).map {
      "reserved_special_token_\($0)"
    }
    return (llama3Tokens + reserved).enumerated().map { index, name in
      AddedToken(
        id: Int32(llama3RankCount + index), content: "<|\(name)|>", isSpecial: true,
        stripsLeft: false, stripsRight: false, isNormalized: false, isSingleWord: false)
    }
  }

  private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
    let digits = digits.last == UInt8(ascii: "\r") ? digits.dropLast() : digits
    guard (1...8).contains(digits.count) else { return nil }
    var value = 0
    for digit in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
      value = value * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return value
  }

  /// The bytes that base64 stands for; nil where it is none.
  static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    guard !text.isEmpty, text.count % 4 == 0 else { return nil }
    var result: [UInt8] = []
    var bits: UInt32 = 0
    var padding = 0
    for (index, byte) in text.enumerated() {
      var value: UInt8
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - UInt8(ascii: "A")
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - UInt8(ascii: "a") + 26
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte - UInt8(ascii: "0") + 52
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "=") where index >= text.count - 2:
        padding += 1
        value = 0
      default: return nil
      }
      if padding > 0, byte != UInt8(ascii: "=") { return nil }
      bits = bits << 6 | UInt32(value)
      if index % 4 == 3 {
        result += [
          UInt8(truncatingIfNeeded: bits >> 16), UInt8(truncatingIfNeeded: bits >> 8),
          UInt8(truncatingIfNeeded: bits),
        ]
        bits = 0
      }
    }
    result.removeLast(padding)
    return result
  }
}
