internal import Support

/// Python's formatting of texts: `%` and `str.format`.
enum JinjaFormat {
  /// One conversion, `%-5.2f`.
  private struct Conversion {
    var isLeft = false
    var fillsZero = false
    var showsPlus = false
    var showsSpace = false
    var width = 0
    var precision: Int?
    var kind: Unicode.Scalar = "s"
  }

  /// `format % arguments`.
  static func percent(_ format: JinjaText, _ arguments: JinjaValue, _ renderer: JinjaRenderer)
    throws -> JinjaText
  {
    if format.isSafe { throw JinjaError("% on a text marked with safe is not supported") }
    try renderer.charge(format.bytes.count / 16)
    var values: [JinjaValue]
    var isTuple = false
    if case .tuple(let list) = arguments {
      try renderer.charge(list.elements.count)
      values = list.elements
      isTuple = true
    } else {
      values = [arguments]
    }
    values.reverse()
    var result = ""
    var rest = format.scalars[...]
    while let scalar = rest.popFirst() {
      guard scalar == "%" else {
        result.unicodeScalars.append(scalar)
        continue
      }
      var name: String?
      if rest.first == "(" {
        guard let end = rest.firstIndex(of: ")") else {
          throw JinjaError("incomplete format key")
        }
        name = String(Substring(rest[rest.index(after: rest.startIndex)..<end]))
        rest = rest[rest.index(after: end)...]
      }
      let conversion = try conversion(&rest)
      if conversion.kind == "%" {
        result += "%"
        continue
      }
      let value: JinjaValue
      if let name {
        guard case .dictionary(let dictionary) = arguments else {
          throw JinjaError("format requires a mapping")
        }
        guard let found = dictionary[name] else {
          throw JinjaError("the format's key '\(name)' is missing")
        }
        value = found
        values = []
      } else {
        guard let next = values.popLast() else {
          throw JinjaError("not enough arguments for format string")
        }
        value = next
      }
      let part = try text(value, conversion, renderer)
      result += part
      try renderer.checkSize(part.utf8.count)
      try JinjaLimits.checkText(result.utf8.count)
    }
    // Python takes whatever has elements for a mapping, which need not be used up.
    switch arguments {
    case .dictionary, .undefined: values = []
    default: break
    }
    if case .list = arguments, !isTuple, values.count == 1 { values = [] }
    guard values.isEmpty else {
      throw JinjaError("not all arguments converted during string formatting")
    }
    return JinjaText(result)
  }

  private static func conversion(_ rest: inout Substring.UnicodeScalarView) throws -> Conversion {
    var conversion = Conversion()
    flags: while let flag = rest.first {
      switch flag {
      case "-": conversion.isLeft = true
      case "0": conversion.fillsZero = true
      case "+": conversion.showsPlus = true
      case " ": conversion.showsSpace = true
      default: break flags
      }
      rest.removeFirst()
    }
    func number() throws -> Int? {
      let digits = rest.prefix { ("0"..."9").contains($0) }
      rest.removeFirst(digits.count)
      guard !digits.isEmpty else { return nil }
      guard let number = Int(String(Substring(digits))), number <= 10_000 else {
        throw JinjaError(.limit, "a format's width of more than 10000")
      }
      return number
    }
    conversion.width = try number() ?? 0
    if rest.first == "." {
      rest.removeFirst()
      conversion.precision = try number() ?? 0
    }
    guard let kind = rest.popFirst() else { throw JinjaError("incomplete format") }
    conversion.kind = kind
    return conversion
  }

  private static func text(
    _ value: JinjaValue, _ conversion: Conversion, _ renderer: JinjaRenderer
  ) throws -> String {
    var sign = ""
    var body: String
    switch conversion.kind {
    case "s", "r":
      if conversion.kind == "s" {
        body = try renderer.read(value).string
      } else {
        try renderer.charge(value.weight)
        body = try value.representation()
      }
      if let precision = conversion.precision {
        body = String(String.UnicodeScalarView(body.unicodeScalars.prefix(precision)))
      }
      return pad(body, sign: "", conversion, allowsZero: false)
    case "d", "i", "u":
      guard let number = value.asInteger ?? truncated(value) else {
        throw JinjaError("%d format: a real number is required, not \(value.typeName)")
      }
      body = String(number.magnitude)
      sign = number < 0 ? "-" : ""
    case "x", "X", "o":
      guard let number = value.asInteger else {
        throw JinjaError("%x format: an integer is required, not \(value.typeName)")
      }
      body = String(
        number.magnitude, radix: conversion.kind == "o" ? 8 : 16,
        uppercase: conversion.kind == "X")
      sign = number < 0 ? "-" : ""
    case "f", "F":
      guard let number = value.asDouble else {
        throw JinjaError("must be real number, not \(value.typeName)")
      }
      body = try fixed(number.magnitude, digits: conversion.precision ?? 6, renderer)
      sign = number.sign == .minus ? "-" : ""
    default:
      throw JinjaError("the format %\(conversion.kind) is not supported")
    }
    if let precision = conversion.precision, conversion.kind != "f", conversion.kind != "F" {
      body = String(repeating: "0", count: max(0, precision - body.utf8.count)) + body
    }
    if sign.isEmpty { sign = conversion.showsPlus ? "+" : conversion.showsSpace ? " " : "" }
    return pad(body, sign: sign, conversion, allowsZero: true)
  }

  private static func truncated(_ value: JinjaValue) -> Int? {
    guard case .float(let number) = value else { return nil }
    return Int(exactly: number.rounded(.towardZero))
  }

  private static func pad(
    _ body: String, sign: String, _ conversion: Conversion, allowsZero: Bool
  ) -> String {
    let missing = max(
      0, conversion.width - body.unicodeScalars.count - sign.unicodeScalars.count)
    if conversion.isLeft { return sign + body + String(repeating: " ", count: missing) }
    if conversion.fillsZero && allowsZero {
      return sign + String(repeating: "0", count: missing) + body
    }
    return String(repeating: " ", count: missing) + sign + body
  }

  /// A positive number with so many decimals, rounded to even from its exact value, as C does.
  static func fixed(_ number: Double, digits: Int, _ renderer: JinjaRenderer) throws -> String {
    if number.isNaN { return "nan" }
    if number.isInfinite { return "inf" }
    guard digits <= 1100 else { throw JinjaError(.limit, "more than 1100 decimals") }
    // Its digits times its bits behind or before the point.
    let bits = number == 0 ? 0 : Int(number.exponent.magnitude) + 52
    try renderer.charge(bits * bits / 64 + digits / 16)
    let decimal = ExactDecimal(number)
    return decimal.text(digits: digits)
  }

  /// `format.format(...)`, with `{}`, `{0}` and `{name}`.
  static func braces(_ format: JinjaText, _ call: JinjaCall, _ renderer: JinjaRenderer) throws
    -> JinjaText
  {
    try renderer.charge(format.bytes.count / 16)
    try renderer.charge(call.named.count)
    let named = Dictionary(call.named.map { (ExactString($0.name), $0.value) }) { first, _ in first
    }
    var result = ""
    var automatic = 0
    var rest = format.scalars[...]
    while let scalar = rest.popFirst() {
      switch (scalar, rest.first) {
      case ("{", "{"), ("}", "}"):
        rest.removeFirst()
        result.unicodeScalars.append(scalar)
      case ("}", _): throw JinjaError("Single '}' encountered in format string")
      case ("{", _):
        guard let end = rest.firstIndex(of: "}") else {
          throw JinjaError("Single '{' encountered in format string")
        }
        let field = String(Substring(rest[..<end]))
        rest = rest[rest.index(after: end)...]
        let value: JinjaValue?
        if field.isEmpty || field.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
          let index = field.isEmpty ? automatic : Int(field) ?? Int.max
          automatic += field.isEmpty ? 1 : 0
          value = call.positional.indices.contains(index) ? call.positional[index] : nil
        } else {
          guard field.unicodeScalars.allSatisfy({ $0 == "_" || $0.properties.isXIDContinue }) else {
            throw JinjaError("the replacement field {\(field)} of format() is not supported")
          }
          value = named[ExactString(field)]
        }
        guard let value else {
          throw JinjaError("format() has no argument for the replacement field {\(field)}")
        }
        let part = try renderer.read(value)
        result += part.string
        try renderer.charge()
        try JinjaLimits.checkText(result.utf8.count)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return JinjaText(result)
  }
}

/// The exact decimal digits of a double that is not negative.
private struct ExactDecimal {
  /// Digits before and after the point.
  private var whole: [UInt8]
  private var fraction: [UInt8]

  init(_ number: Double) {
    // Integer digits by doubling, fraction digits by halving: at most 1100 places of each.
    let significand = number.significandBitPattern | (number.isNormal ? 1 << 52 : 0)
    let exponent = (number.isNormal ? Int(number.exponent) : -1022) - 52
    var digits = String(number == 0 ? 0 : significand).utf8.map { $0 - 0x30 }
    whole = []
    if exponent >= 0 {
      for _ in 0..<exponent { Self.double(&digits) }
      (whole, fraction) = (digits, [])
      return
    }
    // Dividing by 2 is multiplying by 5 and moving the point by one place.
    let places = number == 0 ? 0 : -exponent
    for _ in 0..<places { Self.multiply(&digits, by: 5) }
    if digits.count < places {
      digits = [UInt8](repeating: 0, count: places - digits.count) + digits
    }
    whole = Array(digits.dropLast(places))
    fraction = Array(digits.suffix(places))
  }

  private static func double(_ digits: inout [UInt8]) { multiply(&digits, by: 2) }

  private static func multiply(_ digits: inout [UInt8], by factor: UInt8) {
    var carry: UInt8 = 0
    for index in digits.indices.reversed() {
      let product = digits[index] * factor + carry
      digits[index] = product % 10
      carry = product / 10
    }
    if carry > 0 { digits.insert(carry, at: 0) }
  }

  /// With so many digits after the point, halves to even.
  func text(digits count: Int) -> String {
    var kept = whole + fraction.prefix(count)
    kept += [UInt8](repeating: 0, count: max(0, count - fraction.count))
    let rest = fraction.dropFirst(count)
    if let first = rest.first {
      let isMoreThanHalf = first > 5 || (first == 5 && rest.dropFirst().contains { $0 != 0 })
      let isHalf = first == 5 && !isMoreThanHalf
      if isMoreThanHalf || (isHalf && (kept.last ?? 0) % 2 == 1) {
        var index = kept.count - 1
        while index >= 0, kept[index] == 9 {
          kept[index] = 0
          index -= 1
        }
        if index >= 0 { kept[index] += 1 } else { kept.insert(1, at: 0) }
      }
    }
    let wholeDigits = kept.dropLast(count)
    let wholeText = wholeDigits.isEmpty ? "0" : wholeDigits.map(String.init).joined()
    return count == 0 ? wholeText : wholeText + "." + kept.suffix(count).map(String.init).joined()
  }
}
