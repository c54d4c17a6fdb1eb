/// Divides the code points into classes that a pattern cannot tell apart.
struct PatternAlphabet: Sendable {
  /// Classes are 0 ..< count; `count` itself stands for the end or the start of the text.
  let count: Int
  /// The class of each ASCII character; 255 for bytes of longer characters.
  let byteClasses: [UInt8]
  /// For each 256 code points, which of the pages has their classes.
  private let pageIndices: [UInt16]
  private let pages: [UInt8]

  /// What ``byteClasses`` has for a byte that is no character by itself.
  static let longer: UInt8 = 255
  static let classLimit = 250

  /// Prepares the classes of `sets`, and for each set which classes are in it.
  init(_ sets: [ScalarSet], members: inout [[Bool]]) throws(PatternError) {
    var bounds: [(start: UInt32, set: Int, isIn: Bool)] = []
    for (index, set) in sets.enumerated() {
      for range in set.ranges {
        bounds.append((range.lowerBound, index, true))
        bounds.append((range.upperBound + 1, index, false))
      }
    }
    bounds.sort { $0.start < $1.start }
    var classes: [[Bool]: UInt8] = [:]
    var current = [Bool](repeating: false, count: sets.count)
    // Runs of code points of one class.
    var runs: [(end: Int, number: UInt8)] = []
    let codePoints = Int(ScalarSet.lastScalar) + 1
    members = sets.map { _ in [] }
    var position = 0
    var index = 0
    while position < codePoints {
      while index < bounds.count, bounds[index].start <= position {
        current[bounds[index].set] = bounds[index].isIn
        index += 1
      }
      let end = index < bounds.count ? min(Int(bounds[index].start), codePoints) : codePoints
      let number: UInt8
      if let known = classes[current] {
        number = known
      } else {
        guard classes.count < Self.classLimit else {
          throw PatternError(reason: "more than \(Self.classLimit) classes of characters")
        }
        number = UInt8(classes.count)
        classes[current] = number
        for set in sets.indices { members[set].append(current[set]) }
      }
      runs.append((end, number))
      position = end
    }
    count = classes.count
    var pageNumbers: [[UInt8]: UInt16] = [:]
    // Most pages are of one class.
    var plainNumbers = [UInt16?](repeating: nil, count: classes.count)
    var pages: [UInt8] = []
    var run = 0
    pageIndices = stride(from: 0, to: codePoints, by: 256).map { start in
      while runs[run].end <= start { run += 1 }
      let isPlain = runs[run].end >= start + 256
      if isPlain, let known = plainNumbers[Int(runs[run].number)] { return known }
      var page: [UInt8] = []
      var part = run
      while page.count < 256 {
        let end = min(runs[part].end - start, 256)
        page += repeatElement(runs[part].number, count: end - page.count)
        part += 1
      }
      let number = pageNumbers[page] ?? UInt16(pageNumbers.count)
      if pageNumbers.updateValue(number, forKey: page) == nil { pages += page }
      if isPlain { plainNumbers[Int(runs[run].number)] = number }
      return number
    }
    let first = Int(pageIndices[0]) << 8
    byteClasses = Array(pages[first..<first + 128]) + [UInt8](repeating: Self.longer, count: 128)
    self.pages = pages
  }

  /// The class of a code point.
  @inline(__always) func classOf(_ scalar: UInt32) -> UInt8 {
    pages[Int(pageIndices[Int(scalar >> 8)]) << 8 | Int(scalar & 255)]
  }

  /// The class of the character at `position` of valid UTF-8, and its length.
  @inline(__always) func character(_ bytes: [UInt8], _ position: Int) -> (class: Int, count: Int) {
    let byteClass = byteClasses[Int(bytes[position])]
    if byteClass != Self.longer { return (Int(byteClass), 1) }
    let (scalar, count) = UTF8Scanner.decode(bytes, position)
    return (Int(classOf(scalar)), count)
  }

  /// The class of the character before `position`, which is greater than `start`.
  func characterBefore(_ bytes: [UInt8], _ position: Int, from start: Int) -> (
    class: Int, count: Int
  ) {
    var first = position - 1
    while first > start, bytes[first] & 0xC0 == 0x80 { first -= 1 }
    return (character(bytes, first).class, position - first)
  }
}
