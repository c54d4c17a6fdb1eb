/// Numbers as people read them in a log.
enum NumberText {
  /// With a fixed count of digits after the point, rounded half away from zero: `2.3456`.
  static func fixed(_ number: Double, digits: Int) -> String {
    guard number.isFinite, abs(number) < 1e15 else { return "\(number)" }
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let (whole, fraction) =
      abs(number) < 9e18 / Double(scale)
      ? Int((abs(number) * Double(scale)).rounded()).quotientAndRemainder(dividingBy: scale)
      : (Int(abs(number)), 0)
    let sign = number < 0 && (whole, fraction) != (0, 0) ? "-" : ""
    if digits == 0 { return "\(sign)\(whole)" }
    let fractionText = "\(fraction)"
    let zeros = String(repeating: "0", count: digits - fractionText.count)
    return "\(sign)\(whole).\(zeros)\(fractionText)"
  }

  /// About four digits for rates and norms of any size: `0.0123`, `12.35`, `1,234`.
  static func short(_ number: Double) -> String {
    switch abs(number) {
    case _ where !number.isFinite: "\(number)"
    case 0: "0"
    case ..<1e-4: "\(number)".count <= 8 ? "\(number)" : scientific(number)
    case ..<1: fixed(number, digits: 4)
    case ..<100: fixed(number, digits: 2)
    case ..<1000: fixed(number, digits: 1)
    default: grouped(number)
    }
  }

  /// A whole number with commas: `12,345`.
  static func grouped(_ number: Double) -> String {
    let digits = fixed(abs(number).rounded(), digits: 0)
    guard digits.allSatisfy(\.isNumber) else { return digits }
    var text = ""
    for (position, digit) in digits.enumerated() {
      if position > 0 && (digits.count - position) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return number < 0 && digits != "0" ? "-\(text)" : text
  }

  /// `m:ss` or `h:mm:ss`.
  static func duration(seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0, seconds < 3.6e9 else { return "-:--" }
    let total = Int(seconds.rounded())
    func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let (hours, minutes) = (total / 3600, total / 60 % 60)
    let tail = ":\(twoDigits(total % 60))"
    return hours > 0 ? "\(hours):\(twoDigits(minutes))\(tail)" : "\(minutes)\(tail)"
  }

  private static func scientific(_ number: Double) -> String {
    var mantissa = abs(number)
    var exponent = 0
    while mantissa < 1 {
      mantissa *= 10
      exponent += 1
    }
    return "\(number < 0 ? "-" : "")\(fixed(mantissa, digits: 2))e-\(exponent)"
  }
}
