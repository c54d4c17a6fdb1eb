internal import Support

/// Finds the tokens of parts of a text that was tokenized as a whole.
struct TokenSpans {
  private let tokenizer: any Tokenizer

  init(_ tokenizer: any Tokenizer) { self.tokenizer = tokenizer }

  /// Tokenizes a text and finds the tokens of its parts.
  ///
  /// - Parameters:
  ///   - text: UTF-8.
  ///   - parts: ranges of bytes in order.
  ///   - areMany: whether their borders are found together where they can be.
  /// - Returns: the ids of the whole text, and for each part the tokens that hold a byte of it: a
  ///   token across a border belongs to the part.
  /// - Throws: `UserError` when the text cannot be encoded, or a border cannot be found exactly.
  func tokens(of text: [UInt8], parts: [Range<Int>], areMany: Bool = false) throws -> (
    ids: [Int32], parts: [Range<Int>]
  ) {
    let ids = try encode(text[...], isContinuation: false)
    let borders = parts.flatMap { [$0.lowerBound, $0.upperBound] }
    let found =
      try bySections(text, borders, ids)
      ?? (areMany ? byPlaces(text, borders, ids) : nil)
      ?? borders.enumerated().map { number, border in
        try byPrefix(text, border, ids, isEnd: number % 2 == 1)
      }
    return (ids, parts.indices.map { found[2 * $0]..<max(found[2 * $0], found[2 * $0 + 1]) })
  }

  private func encode(_ bytes: ArraySlice<UInt8>, isContinuation: Bool) throws -> [Int32] {
    bytes.isEmpty
      ? []
      : try tokenizer.encode(String(decoding: bytes, as: UTF8.self), isContinuation: isContinuation)
  }

  /// The borders by encoding what lies between them one by one, which is right when the ids
  /// together are those of the whole; nil when they are not.
  private func bySections(_ text: [UInt8], _ borders: [Int], _ ids: [Int32]) throws -> [Int]? {
    var found: [Int] = []
    var count = 0
    var start = 0
    for border in borders + [text.count] {
      let section = try encode(text[start..<border], isContinuation: start > 0)
      guard ids.dropFirst(count).starts(with: section) else { return nil }
      count += section.count
      found.append(count)
      start = border
    }
    return count == ids.count ? Array(found.dropLast()) : nil
  }

  /// The borders by laying all tokens along the text; nil where one is not what stands there.
  ///
  /// The first token of a text, or after a special token, may begin with a space that the tokenizer
  /// has put there.
  private func byPlaces(_ text: [UInt8], _ borders: [Int], _ ids: [Int32]) -> [Int]? {
    var starts: [Int] = []
    starts.reserveCapacity(ids.count + 1)
    var names: [Int32: [UInt8]] = [:]
    var position = 0
    var mayAddSpace = true
    for id in ids {
      starts.append(position)
      var bytes = tokenizer.continuationBytes(of: id)
      let isSpecial = bytes.isEmpty
      if isSpecial {
        let name =
          names[id] ?? Array(tokenizer.decode([id], keepsSpecialTokens: true).utf8)
        names[id] = name
        bytes = name
      }
      var count = bytes.count
      if !text[position...].starts(with: bytes) {
        guard mayAddSpace, bytes.first == UInt8(ascii: " "),
          text[position...].starts(with: bytes.dropFirst())
        else { return nil }
        count -= 1
      }
      guard !isSpecial || count > 0 else { return nil }
      position += count
      mayAddSpace = isSpecial
    }
    guard position == text.count else { return nil }
    starts.append(position)
    var found: [Int] = []
    var index = 0
    for (number, border) in borders.enumerated() {
      // A token across a border belongs to the part.
      while index < ids.count, starts[index] < border, starts[index + 1] <= border { index += 1 }
      let isAcross = index < ids.count && starts[index] < border
      found.append(number % 2 == 1 && isAcross ? index + 1 : index)
    }
    return found
  }

  /// A border by encoding all before it.
  ///
  /// Where these are the first ids of the whole, the border lies after them. Otherwise a token lies
  /// across it: the tokens from the first difference on are laid along the text.
  private func byPrefix(_ text: [UInt8], _ border: Int, _ ids: [Int32], isEnd: Bool) throws -> Int {
    let before = try encode(text[..<border], isContinuation: false)
    let common = zip(ids, before).prefix { $0 == $1 }.count
    if common == before.count { return common }
    var position = border
    for id in before[common...].reversed() {
      let bytes = tokenizer.continuationBytes(of: id)
      guard !bytes.isEmpty, position >= bytes.count,
        text[position - bytes.count..<position].elementsEqual(bytes)
      else { throw Self.unclear }
      position -= bytes.count
    }
    var index = common
    while index < ids.count {
      let bytes = tokenizer.continuationBytes(of: ids[index])
      guard !bytes.isEmpty, position + bytes.count <= text.count,
        text[position..<position + bytes.count].elementsEqual(bytes)
      else { throw Self.unclear }
      if position == border { return index }
      position += bytes.count
      if position > border { return isEnd ? index + 1 : index }
      index += 1
    }
    return index
  }

  private static let unclear = UserError(
    .badInput,
    "the tokenizer does not tell where in the text its tokens lie, so that the answer's "
      + "tokens cannot be found",
    fix: "train on everything with --train-on all, or give rows of input_ids and labels")
}
