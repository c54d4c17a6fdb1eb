/// The normalization forms of Unicode over UTF-8.
enum UnicodeNormalization: Sendable {
  case nfc, nfd, nfkc, nfkd

  private var isCompatible: Bool { self == .nfkc || self == .nfkd }
  private var composes: Bool { self == .nfc || self == .nfkc }

  /// Hangul syllables are made of their parts by arithmetic.
  private enum Hangul {
    static let syllables: UInt32 = 0xAC00
    static let leading: UInt32 = 0x1100
    static let vowel: UInt32 = 0x1161
    static let trailing: UInt32 = 0x11A7
    static let vowelCount: UInt32 = 21
    static let trailingCount: UInt32 = 28
    static let leadingCount: UInt32 = 19
    static let count = leadingCount * vowelCount * trailingCount
  }

  private struct Tables {
    var canonical: [UInt32: [UInt32]] = [:]
    var compatible: [UInt32: [UInt32]] = [:]
    var composites: [UInt64: UInt32] = [:]
    var classes: [UInt32: UInt8] = [:]
    /// A bit for each code point that NFC may change, or that may change with what is before it.
    var unsettled = [UInt64](repeating: 0, count: 0x110000 / 64)

    func isUnsettled(_ scalar: UInt32) -> Bool {
      unsettled[Int(scalar >> 6)] >> UInt64(scalar & 63) & 1 == 1
    }

    private mutating func markUnsettled(_ scalar: UInt32) {
      unsettled[Int(scalar >> 6)] |= 1 << UInt64(scalar & 63)
    }

    init() {
      var reader = PackedNumbers(encodedDecompositions)
      var scalar: UInt32 = 0
      var targets: [UInt32] = [0]
      var single: [UInt32: (parts: [UInt32], isCompatible: Bool)] = [:]
      while let step = reader.next(), let shape = reader.next() {
        scalar += step
        var parts: [UInt32] = []
        for index in 0...Int(shape / 3) {
          let before = index < targets.count ? targets[index] : parts[index - 1]
          parts.append(UInt32(Int32(before) + (reader.nextSigned() ?? 0)))
        }
        targets = parts
        single[scalar] = (parts, shape % 3 == 0)
        if shape % 3 == 1 { markUnsettled(scalar) }
        if shape % 3 == 2 {
          composites[UInt64(parts[0]) << 32 | UInt64(parts[1])] = scalar
          markUnsettled(parts[1])
        }
      }
      func expand(_ scalar: UInt32, compatibly: Bool) -> [UInt32] {
        guard let entry = single[scalar], compatibly || !entry.isCompatible else { return [scalar] }
        return entry.parts.flatMap { expand($0, compatibly: compatibly) }
      }
      for (scalar, entry) in single {
        compatible[scalar] = expand(scalar, compatibly: true)
        if !entry.isCompatible { canonical[scalar] = expand(scalar, compatibly: false) }
      }
      reader = PackedNumbers(encodedClasses)
      scalar = 0
      while let value = reader.next(), let count = reader.next() {
        if value > 0 {
          for member in scalar..<scalar + count {
            classes[member] = UInt8(value)
            markUnsettled(member)
          }
        }
        scalar += count
      }
      for scalar in Hangul.vowel...0x11FF { markUnsettled(scalar) }
    }
  }

  private static let tables = Tables()

  /// The normalized form of valid UTF-8.
  func apply(_ bytes: [UInt8]) -> [UInt8] {
    if isSettled(bytes) { return bytes }
    let tables = Self.tables
    var scalars: [UInt32] = []
    scalars.reserveCapacity(bytes.count)
    let decompositions = isCompatible ? tables.compatible : tables.canonical
    var position = 0
    while position < bytes.count {
      let (scalar, count) = UTF8Scanner.decode(bytes, position)
      position += count
      if scalar &- Hangul.syllables < Hangul.count {
        let index = scalar - Hangul.syllables
        let block = Hangul.vowelCount * Hangul.trailingCount
        scalars.append(Hangul.leading + index / block)
        scalars.append(Hangul.vowel + index % block / Hangul.trailingCount)
        let trailing = index % Hangul.trailingCount
        if trailing > 0 { scalars.append(Hangul.trailing + trailing) }
      } else if scalar >= 0xA0, let parts = decompositions[scalar] {
        scalars += parts
      } else {
        scalars.append(scalar)
      }
    }
    order(&scalars, tables)
    if composes { compose(&scalars, tables) }
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    for scalar in scalars { UTF8Scanner.append(scalar, to: &result) }
    return result
  }

  /// Whether the text is surely normalized already.
  private func isSettled(_ bytes: [UInt8]) -> Bool {
    var position = 0
    let tables = Self.tables
    while position < bytes.count {
      let byte = bytes[position]
      if byte < 0x80 {
        position += 1
        continue
      }
      guard self == .nfc else { return false }
      let (scalar, count) = UTF8Scanner.decode(bytes, position)
      if tables.isUnsettled(scalar) { return false }
      position += count
    }
    return true
  }

  /// Sorts runs of marks by their combining class.
  private func order(_ scalars: inout [UInt32], _ tables: Tables) {
    func combiningClass(_ scalar: UInt32) -> UInt8 {
      scalar < 0x300 ? 0 : tables.classes[scalar] ?? 0
    }
    var position = 0
    while position < scalars.count {
      guard combiningClass(scalars[position]) > 0 else {
        position += 1
        continue
      }
      let start = position
      while position < scalars.count, combiningClass(scalars[position]) > 0 { position += 1 }
      guard position - start > 1 else { continue }
      let run = scalars[start..<position].enumerated().sorted {
        let (left, right) = (combiningClass($0.element), combiningClass($1.element))
        return left != right ? left < right : $0.offset < $1.offset
      }
      for (offset, entry) in run.enumerated() { scalars[start + offset] = entry.element }
    }
  }

  /// Joins starters with the marks after them.
  private func compose(_ scalars: inout [UInt32], _ tables: Tables) {
    var result: [UInt32] = []
    result.reserveCapacity(scalars.count)
    var starter = -1
    // The class of the last mark that stays behind the starter; nil right after it.
    var lastClass: UInt8?
    for scalar in scalars {
      let own = scalar < 0x300 ? 0 : tables.classes[scalar] ?? 0
      if starter >= 0, lastClass == nil || lastClass.map({ $0 < own }) == true,
        let joined = composite(result[starter], scalar, tables)
      {
        result[starter] = joined
        continue
      }
      if own == 0 {
        starter = result.count
        lastClass = nil
      } else {
        lastClass = own
      }
      result.append(scalar)
    }
    scalars = result
  }

  private func composite(_ first: UInt32, _ second: UInt32, _ tables: Tables) -> UInt32? {
    if first &- Hangul.leading < Hangul.leadingCount, second &- Hangul.vowel < Hangul.vowelCount {
      let index = (first - Hangul.leading) * Hangul.vowelCount + second - Hangul.vowel
      return Hangul.syllables + index * Hangul.trailingCount
    }
    if first &- Hangul.syllables < Hangul.count,
      (first - Hangul.syllables) % Hangul.trailingCount == 0,
      second > Hangul.trailing, second < Hangul.trailing + Hangul.trailingCount
    {
      return first + second - Hangul.trailing
    }
    return tables.composites[UInt64(first) << 32 | UInt64(second)]
  }
}
