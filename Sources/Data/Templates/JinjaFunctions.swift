internal import Support

/// The functions that a chat template may call.
enum JinjaFunction {
  static let names: Set<String> = [
    "range", "namespace", "dict", "raise_exception", "strftime_now",
  ]

  static func call(_ name: String, _ call: JinjaCall, _ renderer: JinjaRenderer) throws
    -> JinjaValue
  {
    switch name {
    case "range": return .range(try range(call, renderer))
    case "namespace":
      let namespace = renderer.makeNamespace()
      for (key, value) in try pairs(call, renderer, function: name) {
        guard case .text(let key) = key else { throw JinjaError("attributes have names") }
        namespace.set(key.string, value)
      }
      return .namespace(namespace)
    case "dict":
      var dictionary = JinjaDictionary()
      for (key, value) in try pairs(call, renderer, function: name) {
        try dictionary.set(key, value)
      }
      return .dictionary(dictionary)
    case "raise_exception":
      let message = try call.bind(name, ["message"], required: 1)[0] ?? .none
      throw JinjaError(.raised, try renderer.text(message).string)
    default:
      let format = try call.bind(name, ["format"], required: 1)[0] ?? .none
      guard case .text(let text) = format else {
        throw JinjaError("strftime_now() needs a text, not \(format.typeName)")
      }
      try renderer.charge(text.bytes.count / 16)
      return .text(try renderer.checked(renderer.date.formatted(text.string)))
    }
  }

  private static func range(_ call: JinjaCall, _ renderer: JinjaRenderer) throws -> JinjaRange {
    guard call.named.isEmpty, (1...3).contains(call.positional.count) else {
      throw JinjaError("range() takes from 1 to 3 arguments")
    }
    let numbers = try call.positional.map { value in
      if case .undefined(let undefined) = value { throw JinjaError(undefined.message) }
      guard let number = value.asInteger else {
        throw JinjaError("'\(value.typeName)' object cannot be interpreted as an integer")
      }
      return number
    }
    let start = numbers.count > 1 ? numbers[0] : 0
    let stop = numbers.count > 1 ? numbers[1] : numbers[0]
    let step = numbers.count > 2 ? numbers[2] : 1
    guard step != 0 else { throw JinjaError("range() arg 3 must not be zero") }
    let (distance, overflows) =
      step > 0
      ? stop.subtractingReportingOverflow(start) : start.subtractingReportingOverflow(stop)
    let pace = step.magnitude
    let count = distance <= 0 ? 0 : (UInt(distance) - 1) / pace + 1
    guard !overflows, count <= UInt(JinjaLimits.rangeElements) else {
      throw JinjaError(
        .limit, "a range of more than \(JinjaLimits.rangeElements) elements")
    }
    return JinjaRange(start: start, step: step, count: Int(count), stop: stop)
  }

  /// What `dict` and `namespace` take: a mapping or pairs, then names.
  private static func pairs(
    _ call: JinjaCall, _ renderer: JinjaRenderer, function: String
  ) throws -> [(JinjaValue, JinjaValue)] {
    guard call.positional.count <= 1 else {
      throw JinjaError("\(function)() takes at most 1 argument that is not named")
    }
    var result: [(JinjaValue, JinjaValue)] = []
    if case .dictionary(let dictionary)? = call.positional.first {
      result = dictionary.entries.map { ($0.key, $0.value) }
    } else if let value = call.positional.first {
      result = try renderer.iterate(value).map { element in
        let pair = try renderer.iterate(element)
        guard pair.count == 2 else { throw JinjaError("\(function)() needs pairs") }
        return (pair[0], pair[1])
      }
    }
    result += call.named.map { (.text($0.name), $0.value) }
    for (key, _) in result { try renderer.charge(key.weight) }
    return result
  }
}

/// The day that `strftime_now` gives: a setting, never the clock, so that a run can be repeated.
package struct TemplateDate: Sendable, Equatable {
  package let year: Int
  package let month: Int
  package let day: Int

  /// The date that templates see when none is given.
  package static let standard = TemplateDate(year: 2024, month: 7, day: 26)

  private init(year: Int, month: Int, day: Int) {
    self.year = year
    self.month = month
    self.day = day
  }

  /// Reads `YYYY-MM-DD`.
  ///
  /// - Parameter text: the date; nil comes back for anything else.
  package init?(_ text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    guard parts.map(\.count) == [4, 2, 2],
      parts.joined().allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
    else { return nil }
    let numbers = parts.compactMap { Int(String(decoding: $0, as: UTF8.self)) }
    guard numbers.count == 3, numbers[0] >= 1, (1...12).contains(numbers[1]), numbers[2] >= 1,
      numbers[2] <= Self.days(inMonth: numbers[1], ofYear: numbers[0])
    else { return nil }
    self.init(year: numbers[0], month: numbers[1], day: numbers[2])
  }

  /// As `YYYY-MM-DD`.
  package var text: String { "\(padded(year, 4))-\(padded(month))-\(padded(day))" }

  private static func days(inMonth month: Int, ofYear year: Int) -> Int {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    return [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
  }

  private var dayOfYear: Int {
    (1..<month).reduce(day) { $0 + Self.days(inMonth: $1, ofYear: year) }
  }

  /// 0 for Sunday.
  private var weekday: Int {
    let before = year - 1
    return (before * 365 + before / 4 - before / 100 + before / 400 + dayOfYear) % 7
  }

  private func padded(_ number: Int, _ width: Int = 2) -> String {
    let text = "\(number)"
    return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
  }

  private static let weekdays = [
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
  ]
  private static let months = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
  ]

  /// The date, at midnight, as `strftime` writes it in the C locale.
  func formatted(_ format: String) throws -> JinjaText {
    var result = ""
    var rest = format.unicodeScalars[...]
    while let scalar = rest.popFirst() {
      guard scalar == "%" else {
        result.unicodeScalars.append(scalar)
        continue
      }
      guard let directive = rest.popFirst() else {
        result += "%"
        break
      }
      // `%-d` leaves leading zeros out.
      if directive == "-", let unpadded = rest.popFirst() {
        let text = try directiveText(unpadded)
        let short = String(text.drop { $0 == "0" })
        result += short.isEmpty ? "0" : short
        continue
      }
      result += try directiveText(directive)
    }
    return JinjaText(result)
  }

  private func directiveText(_ directive: Unicode.Scalar) throws -> String {
    let name = Self.weekdays[weekday]
    let monthName = Self.months[month - 1]
    switch directive {
    case "Y": return "\(year)"
    case "y": return padded(year % 100)
    case "C": return padded(year / 100)
    case "m": return padded(month)
    case "d": return padded(day)
    case "e": return day < 10 ? " \(day)" : "\(day)"
    case "B": return monthName
    case "b", "h": return String(monthName.prefix(3))
    case "A": return name
    case "a": return String(name.prefix(3))
    case "w": return "\(weekday)"
    case "u": return "\(weekday == 0 ? 7 : weekday)"
    case "j": return padded(dayOfYear, 3)
    case "H", "M", "S": return "00"
    case "I": return "12"
    case "p": return "AM"
    case "f": return "000000"
    case "T", "X": return "00:00:00"
    case "R": return "00:00"
    case "F": return text
    case "D", "x": return "\(padded(month))/\(padded(day))/\(padded(year % 100))"
    case "c":
      let shortDay = day < 10 ? " \(day)" : "\(day)"
      return "\(name.prefix(3)) \(monthName.prefix(3)) \(shortDay) 00:00:00 \(year)"
    case "z", "Z": return ""
    case "n": return "\n"
    case "t": return "\t"
    case "%": return "%"
    default: throw JinjaError("strftime_now() does not know %\(directive)")
    }
  }
}
