/// Hashes words: a seed for each table keeps files from making words that collide.
struct WordHash: Sendable {
  private let seed = UInt64.random(in: 0...UInt64.max)

  @inline(__always) func callAsFunction(_ bytes: [UInt8], _ range: Range<Int>) -> UInt64 {
    var hash = seed ^ UInt64(truncatingIfNeeded: range.count) &* 0x9E37_79B9_7F4A_7C15
    var word: UInt64 = 0
    var shift: UInt64 = 0
    for position in range {
      word |= UInt64(bytes[position]) &<< shift
      shift &+= 8
      if shift == 64 {
        hash = Self.mix(hash, word)
        word = 0
        shift = 0
      }
    }
    return Self.mix(hash, word)
  }

  @inline(__always) private static func mix(_ hash: UInt64, _ word: UInt64) -> UInt64 {
    let product = (hash ^ word ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(
      by: 0xE703_7ED1_A0B4_28DB ^ (hash &>> 32))
    return product.high ^ product.low ^ hash
  }
}

/// The ids of words by their bytes.
struct WordTable: Sendable {
  private let hash = WordHash()
  private var texts: [UInt8] = []
  /// By slot: the hash, where the text lies, and the id; a negative id marks a free slot.
  private var slots: [(hash: UInt64, start: Int32, end: Int32, id: Int32)]
  private let mask: Int

  /// A table of `words`, of which no two are equal.
  init(_ words: [(text: [UInt8], id: Int32)]) {
    var size = 16
    while size < 2 * words.count { size *= 2 }
    mask = size - 1
    slots = Array(repeating: (0, 0, 0, -1), count: size)
    texts.reserveCapacity(words.reduce(0) { $0 + $1.text.count })
    for (text, id) in words {
      let value = hash(text, 0..<text.count)
      var slot = Int(truncatingIfNeeded: value) & mask
      while slots[slot].id >= 0 { slot = (slot + 1) & mask }
      slots[slot] = (value, Int32(texts.count), Int32(texts.count + text.count), id)
      texts += text
    }
  }

  /// The id of the word in `range` of `bytes`.
  func id(_ bytes: [UInt8], _ range: Range<Int>) -> Int32? {
    let value = hash(bytes, range)
    var slot = Int(truncatingIfNeeded: value) & mask
    while slots[slot].id >= 0 {
      let entry = slots[slot]
      if entry.hash == value,
        texts[Int(entry.start)..<Int(entry.end)].elementsEqual(bytes[range])
      {
        return entry.id
      }
      slot = (slot + 1) & mask
    }
    return nil
  }
}

/// Ids of words that were encoded lately. It holds a bounded number and forgets all when full.
struct WordCache: Sendable {
  private struct Slot {
    var hash: UInt64 = 0
    var textStart: Int32 = 0
    /// Zero marks a free slot.
    var textCount: Int32 = 0
    var idStart: Int32 = 0
    var idCount: Int32 = 0
  }

  /// Longer words are rare and not kept.
  static let wordLimit = 96
  private static let slotCount = 1 << 16
  private static let wordCountLimit = 1 << 15

  private let hash = WordHash()
  private var slots: [Slot] = []
  private var texts: [UInt8] = []
  private var ids: [Int32] = []
  private var count = 0

  /// Appends the ids of the word in `range` to `result`, when they are known.
  ///
  /// - Returns: nil when they were; else the word's hash, with which it can be kept.
  @inline(__always)
  func append(_ bytes: [UInt8], _ range: Range<Int>, to result: inout [Int32]) -> UInt64? {
    let value = hash(bytes, range)
    guard !slots.isEmpty else { return value }
    var index = Int(truncatingIfNeeded: value) & (Self.slotCount - 1)
    while slots[index].textCount > 0 {
      let slot = slots[index]
      if slot.hash == value, Int(slot.textCount) == range.count {
        var offset = 0
        let start = Int(slot.textStart)
        while offset < range.count, texts[start + offset] == bytes[range.lowerBound + offset] {
          offset += 1
        }
        if offset == range.count {
          if slot.idCount == 1 {
            result.append(ids[Int(slot.idStart)])
          } else {
            result += ids[Int(slot.idStart)..<Int(slot.idStart + slot.idCount)]
          }
          return nil
        }
      }
      index = (index + 1) & (Self.slotCount - 1)
    }
    return value
  }

  /// Keeps the ids of a word under its hash.
  mutating func keep(
    _ bytes: [UInt8], _ range: Range<Int>, _ value: UInt64, _ wordIDs: ArraySlice<Int32>
  ) {
    if slots.isEmpty || count >= Self.wordCountLimit {
      slots = [Slot](repeating: Slot(), count: Self.slotCount)
      texts.removeAll(keepingCapacity: true)
      ids.removeAll(keepingCapacity: true)
      count = 0
    }
    var index = Int(truncatingIfNeeded: value) & (Self.slotCount - 1)
    while slots[index].textCount > 0 { index = (index + 1) & (Self.slotCount - 1) }
    slots[index] = Slot(
      hash: value, textStart: Int32(texts.count), textCount: Int32(range.count),
      idStart: Int32(ids.count), idCount: Int32(wordIDs.count))
    texts += bytes[range]
    ids += wordIDs
    count += 1
  }
}
