/// A map from pairs of ids to merges, quicker than a dictionary.
///
/// Open addressing; the seed differs from table to table, so that no file can be made whose pairs
/// collide. What is found does not depend on it.
struct PairTable: Sendable {
  struct Merge: Sendable {
    var priority: Float
    var id: Int32
  }

  private var keys: [UInt64] = []
  private var merges: [Merge] = []
  private var count = 0
  private var mask = 0
  private let seed = UInt64.random(in: 0...UInt64.max)
  private static let empty = UInt64.max

  @inline(__always) private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  @inline(__always) private func slot(_ key: UInt64) -> Int {
    var hash = (key ^ seed) &* 0x9E37_79B9_7F4A_7C15
    hash ^= hash >> 32
    hash = hash &* 0xD6E8_FEB8_6659_FD93
    return Int(truncatingIfNeeded: hash >> 32) & mask
  }

  @inline(__always) subscript(left: Int32, right: Int32) -> Merge? {
    guard count > 0 else { return nil }
    let key = Self.key(left, right)
    var slot = slot(key)
    while keys[slot] != key {
      if keys[slot] == Self.empty { return nil }
      slot = (slot + 1) & mask
    }
    return merges[slot]
  }

  /// Sets the merge of a pair of ids that are not negative.
  mutating func set(_ left: Int32, _ right: Int32, _ merge: Merge) {
    if 2 * (count + 1) > keys.count { grow(to: max(64, 2 * keys.count)) }
    insert(Self.key(left, right), merge)
  }

  mutating func reserve(_ capacity: Int) {
    var size = 64
    while size < 2 * capacity { size *= 2 }
    if size > keys.count { grow(to: size) }
  }

  private mutating func insert(_ key: UInt64, _ merge: Merge) {
    var slot = slot(key)
    while keys[slot] != Self.empty, keys[slot] != key { slot = (slot + 1) & mask }
    if keys[slot] == Self.empty { count += 1 }
    keys[slot] = key
    merges[slot] = merge
  }

  private mutating func grow(to size: Int) {
    let (oldKeys, oldMerges) = (keys, merges)
    keys = [UInt64](repeating: Self.empty, count: size)
    merges = [Merge](repeating: Merge(priority: 0, id: 0), count: size)
    mask = size - 1
    count = 0
    for (index, key) in oldKeys.enumerated() where key != Self.empty {
      insert(key, oldMerges[index])
    }
  }
}
