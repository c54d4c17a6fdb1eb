/// What is known about a tokenized row beside its tokens.
package struct TokenRow: Sendable, Equatable {
  package struct Flags: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The row ends with a trained end token.
    package static let trainsEnd = Flags(rawValue: 1)
    /// The row itself said which tokens are trained.
    package static let hasOwnLabels = Flags(rawValue: 2)
    /// The row has an answer, and it is empty.
    package static let hasEmptyAnswer = Flags(rawValue: 4)
  }

  /// Where its tokens begin, in numbers; its labels follow them.
  package var offset: Int
  package var tokenCount: Int
  package var targetTokens: Int
  /// Tokens from here on must not be cut.
  package var answerStart: Int
  package var flags: Flags
  /// Of the data file.
  package var line: Int
  package var hash: RowHash

  static let byteCount = 48

  func write(to bytes: inout [UInt8]) {
    LittleEndian.append(UInt64(offset), to: &bytes)
    LittleEndian.append(UInt64(line), to: &bytes)
    for number in [tokenCount, targetTokens, answerStart] {
      LittleEndian.append(UInt32(number), to: &bytes)
    }
    LittleEndian.append(flags.rawValue, to: &bytes)
    LittleEndian.append(hash.first, to: &bytes)
    LittleEndian.append(hash.second, to: &bytes)
  }

  /// Reads a row of a file whose checksum was right.
  init(_ bytes: [UInt8], at start: Int) {
    func long(_ place: Int) -> UInt64 { LittleEndian.read(bytes, at: start + place) }
    func short(_ place: Int) -> UInt32 { LittleEndian.read(bytes, at: start + place) }
    self.init(
      offset: Int(long(0)), tokenCount: Int(short(16)), targetTokens: Int(short(20)),
      answerStart: Int(short(24)), flags: Flags(rawValue: short(28)), line: Int(long(8)),
      hash: RowHash(first: long(32), second: long(40)))
  }

  init(
    offset: Int, tokenCount: Int, targetTokens: Int, answerStart: Int, flags: Flags, line: Int,
    hash: RowHash
  ) {
    self.offset = offset
    self.tokenCount = tokenCount
    self.targetTokens = targetTokens
    self.answerStart = answerStart
    self.flags = flags
    self.line = line
    self.hash = hash
  }
}

/// Numbers as bytes, the lowest first.
enum LittleEndian {
  static func append<Number: FixedWidthInteger>(_ number: Number, to bytes: inout [UInt8]) {
    for place in 0..<Number.bitWidth / 8 {
      bytes.append(UInt8(truncatingIfNeeded: number >> (8 * place)))
    }
  }

  static func read<Number: FixedWidthInteger>(_ bytes: [UInt8], at start: Int) -> Number {
    var number: Number = 0
    for place in 0..<Number.bitWidth / 8 {
      number |= Number(truncatingIfNeeded: bytes[start + place]) << (8 * place)
    }
    return number
  }

  static func numbers(_ bytes: [UInt8]) -> [Int32] {
    var numbers: [Int32] = []
    numbers.reserveCapacity(bytes.count / 4)
    for start in stride(from: 0, to: bytes.count, by: 4) {
      let low = UInt32(bytes[start]) | UInt32(bytes[start + 1]) << 8
      let high = UInt32(bytes[start + 2]) | UInt32(bytes[start + 3]) << 8
      numbers.append(Int32(bitPattern: low | high << 16))
    }
    return numbers
  }
}
