/// Looks at UTF-8 one scalar at a time, without assuming that it is valid.
enum UTF8Scanner {
  enum Outcome: Equatable {
    /// A whole scalar of so many bytes.
    case valid(Int)
    /// The bytes end inside what may still become a scalar.
    case incomplete
    case invalid
  }

  /// U+FFFD, which stands for a byte that belongs to no character.
  static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

  /// What the bytes from `position` on, at least one, begin with.
  static func scalar(in bytes: [UInt8], at position: Int) -> Outcome {
    let first = bytes[position]
    if first < 0x80 { return .valid(1) }
    let count: Int
    // The second byte's range excludes overlong forms, surrogates and values over U+10FFFF.
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch first {
    case 0xC2...0xDF: count = 2
    case 0xE0: (count, second) = (3, 0xA0...0xBF)
    case 0xED: (count, second) = (3, 0x80...0x9F)
    case 0xE1...0xEF: count = 3
    case 0xF0: (count, second) = (4, 0x90...0xBF)
    case 0xF1...0xF3: count = 4
    case 0xF4: (count, second) = (4, 0x80...0x8F)
    default: return .invalid
    }
    for index in 1..<count {
      guard position + index < bytes.count else { return .incomplete }
      let allowed = index == 1 ? second : 0x80...0xBF
      guard allowed.contains(bytes[position + index]) else { return .invalid }
    }
    return .valid(count)
  }

  /// How many bytes a scalar has that begins with `first`; 1 for a byte that begins none.
  static func length(_ first: UInt8) -> Int {
    switch first {
    case ..<0xC0: 1
    case ..<0xE0: 2
    case ..<0xF0: 3
    default: 4
    }
  }

  /// The scalar at `position` of valid UTF-8, and how many bytes it has.
  @inline(__always) static func decode(_ bytes: [UInt8], _ position: Int) -> (UInt32, Int) {
    let first = UInt32(bytes[position])
    func next(_ offset: Int) -> UInt32 { UInt32(bytes[position + offset] & 0x3F) }
    switch first {
    case ..<0x80: return (first, 1)
    case ..<0xE0: return ((first & 0x1F) << 6 | next(1), 2)
    case ..<0xF0: return ((first & 0x0F) << 12 | next(1) << 6 | next(2), 3)
    default: return ((first & 0x07) << 18 | next(1) << 12 | next(2) << 6 | next(3), 4)
    }
  }

  /// Appends a scalar as UTF-8.
  @inline(__always) static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
    func tail(_ shift: UInt32) -> UInt8 { UInt8(0x80 | (scalar >> shift & 0x3F)) }
    switch scalar {
    case ..<0x80: bytes.append(UInt8(scalar))
    case ..<0x800:
      bytes.append(UInt8(0xC0 | scalar >> 6))
      bytes.append(tail(0))
    case ..<0x1_0000:
      bytes.append(UInt8(0xE0 | scalar >> 12))
      bytes.append(tail(6))
      bytes.append(tail(0))
    default:
      bytes.append(UInt8(0xF0 | scalar >> 18 & 0x07))
      bytes.append(tail(12))
      bytes.append(tail(6))
      bytes.append(tail(0))
    }
  }

  /// How many bytes at `position`, where no whole scalar stands, are the beginning of one; at least 1.
  static func brokenLength(in bytes: [UInt8], at position: Int) -> Int {
    var count = 1
    while position + count < bytes.count, count < 3,
      scalar(in: Array(bytes[position...position + count]), at: 0) == .incomplete
    { count += 1 }
    return count
  }
}
