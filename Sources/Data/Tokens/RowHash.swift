package import Support

/// 128 bits that follow from what a row says, and from nothing else: equal rows have equal hashes,
/// whatever their file, format, place or order of columns.
///
/// The first half decides about the hold-out, the second about fractional weights, so that the
/// two choices are independent.
package struct RowHash: Sendable, Hashable {
  package var first: UInt64
  package var second: UInt64

  package init(first: UInt64, second: UInt64) {
    self.first = first
    self.second = second
  }

  /// SHA-256 of the columns, sorted by name, as JSON.
  package init(_ columns: JSONObject) {
    let sorted = columns.members.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    let text = JSONValue.object(JSONObject(sorted.map { ($0.name, $0.value) })).compactText
    var hash = SHA256()
    hash.update(Array(text.utf8))
    let words = hash.finishWords().map { UInt64($0) }
    self.init(first: words[0] << 32 | words[1], second: words[2] << 32 | words[3])
  }
}
