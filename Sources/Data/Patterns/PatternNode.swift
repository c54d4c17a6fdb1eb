/// The syntax tree of a pattern.
indirect enum PatternNode: Sendable {
  enum Greed: Sendable { case greedy, lazy, possessive }

  /// One character of a set; the empty set matches nothing.
  case set(ScalarSet)
  case sequence([PatternNode])
  /// The first that leads to a match counts.
  case choice([PatternNode])
  case repetition(PatternNode, minimum: Int, maximum: Int?, Greed)
  /// Between characters: the next one is in the set, or the text ends.
  case next(ScalarSet, orEnd: Bool)
  /// Between characters: the one before is in the set, or the text begins.
  case previous(ScalarSet, orStart: Bool)
  /// Between characters: whether a text that the node matches begins here.
  case ahead(PatternNode, isNegated: Bool)

  static let empty = PatternNode.sequence([])

  /// The set, when the node always takes one character of a set.
  var characters: ScalarSet? {
    switch self {
    case .set(let set): return set
    case .sequence(let parts): return parts.count == 1 ? parts[0].characters : nil
    case .choice(let parts):
      var union = ScalarSet()
      for part in parts {
        guard let set = part.characters else { return nil }
        union = union.union(set)
      }
      return union
    default: return nil
    }
  }

  /// A look at the next character that is equal to whether this node matches ahead.
  var lookAhead: (set: ScalarSet, orEnd: Bool)? {
    if let set = characters { return (set, false) }
    switch self {
    case .next(let set, let orEnd): return (set, orEnd)
    case .sequence(let parts): return parts.count == 1 ? parts[0].lookAhead : nil
    case .choice(let parts):
      var result: (set: ScalarSet, orEnd: Bool) = (ScalarSet(), false)
      for part in parts {
        guard let look = part.lookAhead else { return nil }
        result = (result.set.union(look.set), result.orEnd || look.orEnd)
      }
      return result
    default: return nil
    }
  }

  /// The node repeated without ever giving a character back: after the last one no further follows.
  static func possessive(_ set: ScalarSet, minimum: Int, maximum: Int?) -> PatternNode {
    let end = PatternNode.next(set.inverted, orEnd: true)
    let one = PatternNode.set(set)
    guard let maximum else {
      return .sequence([.repetition(one, minimum: minimum, maximum: nil, .greedy), end])
    }
    var rest = PatternNode.empty
    for _ in 0..<(maximum - minimum) { rest = .choice([.sequence([one, rest]), end]) }
    return .sequence([.repetition(one, minimum: minimum, maximum: minimum, .greedy), rest])
  }
}

/// Why a pattern cannot be used.
package struct PatternError: Error, Equatable {
  package var reason: String
}
