/// For every place in a text, the instructions from which a program can still match.
///
/// They are found from the end of the text to its start, in one step a character; with them a
/// match is followed without ever going back.
struct PatternSuffixes {
  private struct Key: Hashable {
    var set: Int32
    var symbol: Int32
    var previous: Int32
  }

  private let machine: PatternMachine
  private let program: PatternProgram
  private let start: Int
  /// By byte offset from `start`: a number of `sets`; places inside characters are not used.
  private var setNumbers: [Int32]
  private var sets: [[UInt64]] = []
  private var numbers: [[UInt64]: Int32] = [:]

  /// Words of all sets together.
  private static let wordLimit = 1 << 22
  /// Instructions that are looked at to find the sets.
  private static let workLimit = 1 << 27

  /// Looks at `range` of `bytes`.
  ///
  /// - Parameters:
  ///   - machine: has the classes.
  ///   - program: the machine's program, or one of its look-aheads.
  ///   - bytes: valid UTF-8.
  ///   - range: of whole characters.
  ///   - aheads: for each byte of the range and its end, the bits of the look-aheads.
  ///   - textStart: where the text begins that `range` is the end of.
  /// - Throws: `PatternError` when the program has too many different sets on this text.
  init(
    _ machine: PatternMachine, _ program: PatternProgram, _ bytes: [UInt8], _ range: Range<Int>,
    aheads: [UInt8]?, textStart: Int
  ) throws(PatternError) {
    self.machine = machine
    self.program = program
    start = range.lowerBound
    setNumbers = [Int32](repeating: 0, count: range.count + 1)
    var steps: [Key: Int32] = [:]
    let alphabet = machine.alphabet
    let shift = machine.aheads.count
    var position = range.upperBound
    var following: Int32 = -1
    var work = 0
    var next = alphabet.count
    while true {
      let before =
        position > textStart
        ? alphabet.characterBefore(bytes, position, from: textStart) : (alphabet.count, 0)
      let bits = aheads.map { Int($0[position - start]) } ?? 0
      let key = Key(
        set: following, symbol: Int32(next << shift | bits),
        previous: program.looksBack ? Int32(before.0) : 0)
      if let known = steps[key] {
        following = known
      } else {
        following = try number(
          of: set(
            before: following, symbol: Int(key.symbol), previous: before.0, work: &work))
        steps[key] = following
        guard work <= Self.workLimit else { throw Self.tooMany }
      }
      setNumbers[position - start] = following
      if position <= start { break }
      next = before.0
      position -= before.1
    }
  }

  private static let tooMany = PatternError(reason: "too many ways to match a long text")

  private mutating func number(of set: [UInt64]) throws(PatternError) -> Int32 {
    if let known = numbers[set] { return known }
    guard (sets.count + 1) * set.count <= Self.wordLimit else { throw Self.tooMany }
    let number = Int32(sets.count)
    sets.append(set)
    numbers[set] = number
    return number
  }

  private static func contains(_ set: [UInt64], _ place: Int) -> Bool {
    set[place >> 6] >> UInt64(place & 63) & 1 == 1
  }

  /// The instructions that can match where `symbol` comes next and `following` can match after it.
  private func set(before following: Int32, symbol: Int, previous: Int, work: inout Int)
    -> [UInt64]
  {
    let instructions = program.instructions
    var result = [UInt64](repeating: 0, count: instructions.count / 64 + 1)
    var hasChanged = true
    while hasChanged {
      hasChanged = false
      work += instructions.count
      for place in instructions.indices.reversed() where !Self.contains(result, place) {
        let instruction = instructions[place]
        let canMatch =
          switch instruction {
          case .match: true
          case .take:
            following >= 0 && machine.takes(instruction, symbol: symbol)
              && Self.contains(sets[Int(following)], place + 1)
          case .fork(let first, let second):
            Self.contains(result, first) || Self.contains(result, second)
          case .jump(let target): Self.contains(result, target)
          case .next, .previous, .ahead:
            Self.contains(result, place + 1)
              && machine.holds(instruction, previous: previous, symbol: symbol) == true
          }
        if canMatch {
          result[place >> 6] |= 1 << UInt64(place & 63)
          hasChanged = true
        }
      }
    }
    return result
  }

  /// Whether the program matches a text that begins at `position`.
  func matches(at position: Int) -> Bool { canMatch(0, position) }

  private func canMatch(_ place: Int, _ position: Int) -> Bool {
    Self.contains(sets[Int(setNumbers[position - start])], place)
  }

  /// The end of the match that begins at `position`, where ``matches(at:)`` is true.
  func matchEnd(_ bytes: [UInt8], from position: Int) -> Int {
    var position = position
    var place = 0
    var visited = Set<Int>()
    var stack: [Int] = []
    while true {
      // Everything in the set leads to a match, so the first way that takes a character is it.
      visited.removeAll(keepingCapacity: true)
      stack.removeAll(keepingCapacity: true)
      stack.append(place)
      var taken: Int?
      search: while let next = stack.popLast() {
        guard canMatch(next, position), visited.insert(next).inserted else { continue }
        switch program.instructions[next] {
        case .match: return position
        case .take:
          taken = next
          break search
        case .fork(let first, let second): stack += [second, first]
        case .jump(let target): stack.append(target)
        case .next, .previous, .ahead: stack.append(next + 1)
        }
      }
      guard let taken else { return position }
      position += UTF8Scanner.length(bytes[position])
      place = taken + 1
    }
  }
}
