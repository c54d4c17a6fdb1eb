/// The samples of a run, each a part of a tokenized row, read when they are needed.
package struct SampleList: Sendable {
  /// A part of a row: its first `kept` tokens, and those in `from ..< to`.
  struct Part: Sendable {
    var offset: Int
    var rowTokenCount: Int32
    var from: Int32
    var to: Int32
    var targetTokens: Int32
    var store: Int16
    var kept: Int8

    var tokenCount: Int { Int(to - from) + Int(kept) }
  }

  private let stores: [TokenStore]
  private let parts: [Part]

  init(stores: [TokenStore], parts: [Part]) {
    self.stores = stores
    self.parts = parts
  }

  /// Samples that are in memory already.
  package init(_ samples: [Sample]) {
    var numbers: [Int32] = []
    var parts: [Part] = []
    for sample in samples {
      let count = Int32(sample.tokens.count)
      parts.append(
        Part(
          offset: numbers.count, rowTokenCount: count, from: 0, to: count,
          targetTokens: Int32(sample.targetTokens), store: 0, kept: 0))
      numbers += sample.tokens + sample.labels
    }
    self.init(
      stores: [
        TokenStore(
          origin: TokenStore.Origin(path: "", format: "", columns: []), numbers: numbers, rows: [],
          digest: "")
      ], parts: parts)
  }

  package var count: Int { parts.count }
  package var indices: Range<Int> { parts.indices }

  /// Tokens of each sample.
  package var lengths: [Int] { parts.map(\.tokenCount) }
  package func tokenCount(_ index: Int) -> Int { parts[index].tokenCount }
  package func targetTokens(_ index: Int) -> Int { Int(parts[index].targetTokens) }

  /// Reads a sample.
  ///
  /// - Parameter index: below ``count``.
  /// - Throws: `UserError` when the file that holds it cannot be read any more.
  package func sample(_ index: Int) throws -> Sample {
    let part = parts[index]
    let whole = try stores[Int(part.store)].sample(
      offset: part.offset, tokenCount: Int(part.rowTokenCount))
    return whole.part(kept: Int(part.kept), Int(part.from)..<Int(part.to))
  }

  /// Where samples lie and how often, as bytes, for a digest.
  func write(to bytes: inout [UInt8], _ range: Range<Int>) {
    for part in parts[range] {
      LittleEndian.append(UInt64(part.offset), to: &bytes)
      for number in [part.from, part.to, Int32(part.store), Int32(part.kept)] {
        LittleEndian.append(number, to: &bytes)
      }
    }
  }
}

extension Sample {
  /// The first `kept` tokens and those of `range`, with their labels.
  func part(kept: Int, _ range: Range<Int>) -> Sample {
    guard kept > 0 || range.count < tokens.count else { return self }
    return Sample(
      tokens: Array(tokens[..<kept] + tokens[range]), labels: Array(labels[..<kept] + labels[range])
    )
  }
}
