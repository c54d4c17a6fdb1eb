/// One step that cuts a text into words before tokens are looked for (`pre_tokenizer`).
enum PreTokenizerStep: Sendable {
  case split(Pattern, SplitBehavior, isInverted: Bool)
  case metaspace(Metaspace)
  /// Puts a space in front of pieces that have none.
  case prefixSpace
  /// Writes every byte as a character of ``ByteAlphabet``.
  case byteLevel

  /// Cuts the pieces further.
  func apply(_ pieces: inout TextPieces) throws(PatternError) {
    switch self {
    case .split(let pattern, let behavior, let isInverted):
      var splitter = PieceSplitter(
        behavior, isInverted: isInverted, capacity: pieces.bytes.count / 5 + 4)
      for range in pieces.ranges {
        splitter.begin(range.lowerBound)
        try pattern.forEachMatch(in: pieces.bytes, range) { splitter.match($0, $1) }
        splitter.finish(range.upperBound)
      }
      pieces.ranges = splitter.ranges
    case .metaspace(let metaspace): metaspace.apply(&pieces)
    case .prefixSpace:
      let space = UInt8(ascii: " ")
      let skipsFirst = pieces.isStart && pieces.isContinuation
      guard
        pieces.ranges.enumerated().contains(where: { index, range in
          pieces.bytes[range.lowerBound] != space && !(index == 0 && skipsFirst)
        })
      else { return }
      pieces.mapPieces { piece, isFirst in
        piece.first == space || (isFirst && skipsFirst) ? Array(piece) : [space] + piece
      }
    case .byteLevel:
      pieces.mapPieces { piece, _ in
        var result: [UInt8] = []
        result.reserveCapacity(2 * piece.count)
        for byte in piece {
          UTF8Scanner.append(ByteAlphabet.characters[Int(byte)].value, to: &result)
        }
        return result
      }
    }
  }
}

/// Replaces spaces by a visible character and puts one in front (`pre_tokenizer` Metaspace).
struct Metaspace: Sendable {
  enum PrependScheme: Sendable {
    /// Only in front of the section that begins the text.
    case first
    /// In front of every section between added tokens.
    case always
    case never
  }

  var replacement: [UInt8]
  var scheme: PrependScheme
  /// Whether each replacement character begins a word of its own.
  var splits: Bool

  func apply(_ pieces: inout TextPieces) {
    let isStart = pieces.isStart
    let isContinuation = pieces.isContinuation
    var result: [UInt8] = []
    result.reserveCapacity(pieces.bytes.count + pieces.bytes.count / 2 + replacement.count)
    var ranges: [Range<Int>] = []
    ranges.reserveCapacity(pieces.bytes.count / 6 + 4)
    let space = UInt8(ascii: " ")
    for (index, range) in pieces.ranges.enumerated() {
      let begins = isStart && index == 0
      let wantsPrefix =
        switch scheme {
        case .first: begins && !isContinuation
        case .always: !(begins && isContinuation)
        case .never: false
        }
      var start = result.count
      if wantsPrefix, pieces.bytes[range.lowerBound] != space,
        !pieces.bytes[range].starts(with: replacement)
      {
        result += replacement
      }
      var position = range.lowerBound
      while position < range.upperBound {
        let byte = pieces.bytes[position]
        let isSpace = byte == space
        if isSpace
          || byte == replacement[0]
            && pieces.bytes[position..<range.upperBound].starts(with: replacement)
        {
          if splits, start < result.count {
            ranges.append(start..<result.count)
            start = result.count
          }
          result += replacement
          position += isSpace ? 1 : replacement.count
        } else {
          result.append(byte)
          position += 1
        }
      }
      if start < result.count { ranges.append(start..<result.count) }
    }
    pieces.bytes = result
    pieces.ranges = ranges
  }
}
