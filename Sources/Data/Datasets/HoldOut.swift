/// Which rows are held out of training for evaluation.
///
/// The choice follows from what a row says, so that it depends neither on order nor on other rows,
/// and duplicates fall on the same side.
package enum HoldOut: Sendable, Equatable {
  /// Rows whose hash lies in this part of all hashes.
  case fraction(Double)
  /// This many rows, those with the smallest hashes; more where the last has duplicates.
  case count(Int)

  /// Tells held-out rows from others.
  ///
  /// - Parameter stores: all rows there are.
  /// - Returns: the largest hash that is held out.
  func limit(_ stores: [TokenStore]) throws -> UInt64? {
    switch self {
    case .fraction(let fraction):
      // Exact: a fraction below one times a power of two.
      let bound = UInt64(fraction * 0x1p64)
      return bound == 0 ? nil : bound - 1
    case .count(let count):
      var hashes: [UInt64] = []
      for store in stores { try store.forEachRow { hashes.append($0.hash.first) } }
      hashes.sort()
      return hashes.isEmpty ? nil : hashes[min(count, hashes.count) - 1]
    }
  }
}
