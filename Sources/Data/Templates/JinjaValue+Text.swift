/// How Python writes values.
extension JinjaValue {
  /// Python's `str`.
  func pythonText() throws -> JinjaText {
    switch self {
    case .text(let text): return text
    case .undefined: return ""
    default: return JinjaText(try representation())
    }
  }

  /// Python's `repr`.
  func representation() throws -> String {
    switch self {
    case .undefined: return "Undefined"
    case .none: return "None"
    case .bool(let flag): return flag ? "True" : "False"
    case .integer(let number): return "\(number)"
    case .float(let number): return Self.floatText(number)
    case .text(let text):
      let quoted = Self.quoted(text.string)
      return text.isSafe ? "Markup(\(quoted))" : quoted
    case .list(let list): return "[\(try Self.joined(list))]"
    case .tuple(let list), .group(let list):
      return list.elements.count == 1 ? "(\(try Self.joined(list)),)" : "(\(try Self.joined(list)))"
    case .dictionary(let dictionary):
      var size = 0
      let parts = try dictionary.entries.map { entry in
        let part = "\(try entry.key.representation()): \(try entry.value.representation())"
        try Self.check(&size, part)
        return part
      }
      return "{\(parts.joined(separator: ", "))}"
    case .range(let range):
      return range.step == 1
        ? "range(\(range.start), \(range.stop))"
        : "range(\(range.start), \(range.stop), \(range.step))"
    case .view(let name, let list): return "\(name)([\(try Self.joined(list))])"
    case .macro(let macro): return "<Macro \(Self.quoted(macro.name))>"
    case .iterator, .namespace, .loop, .function, .method:
      // Python writes an address or something like it, which nobody means to put into a prompt.
      throw JinjaError("a \(typeName) has no text of its own; filter it with list or join")
    }
  }

  private static func joined(_ list: JinjaList) throws -> String {
    var size = 0
    return try list.elements.map { element in
      let part = try element.representation()
      try check(&size, part)
      return part
    }.joined(separator: ", ")
  }

  /// Values share their parts, so that a small one can have a huge text.
  private static func check(_ size: inout Int, _ part: String) throws {
    size += part.utf8.count
    try JinjaLimits.checkText(size)
  }

  /// A float as Python writes it: the shortest digits that read back, with an exponent below 1e-4
  /// and from 1e16 on.
  static func floatText(_ number: Double) -> String {
    if number.isNaN { return "nan" }
    if number.isInfinite { return number < 0 ? "-inf" : "inf" }
    let sign = number.sign == .minus ? "-" : ""
    if number == 0 { return sign + "0.0" }
    // Swift's shortest digits, taken apart: 1.25e-05 is 125 with the point after its first digit.
    let text = "\(number.magnitude)"
    let parts = text.split(separator: "e")
    let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    var digits = mantissa.joined()
    var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
    let zeros = digits.prefix { $0 == "0" }.count
    digits = String(digits.dropFirst(zeros))
    point -= zeros
    while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
    let exponent = point - 1
    if exponent < -4 || exponent >= 16 {
      let rest = digits.dropFirst()
      let power = String(exponent.magnitude)
      return sign + digits.prefix(1) + (rest.isEmpty ? "" : ".\(rest)")
        + (exponent < 0 ? "e-" : "e+") + (power.count < 2 ? "0" : "") + power
    }
    if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
    if digits.count <= point {
      return sign + digits + String(repeating: "0", count: point - digits.count) + ".0"
    }
    return sign + digits.prefix(point) + "." + digits.dropFirst(point)
  }

  /// A text in quotes as Python's `repr` writes it.
  static func quoted(_ text: String) -> String {
    let scalars = text.unicodeScalars
    let quote: Unicode.Scalar = scalars.contains("'") && !scalars.contains("\"") ? "\"" : "'"
    var result = String.UnicodeScalarView()
    result.append(quote)
    for scalar in scalars {
      switch scalar {
      case "\\": result.append(contentsOf: "\\\\".unicodeScalars)
      case "\n": result.append(contentsOf: "\\n".unicodeScalars)
      case "\r": result.append(contentsOf: "\\r".unicodeScalars)
      case "\t": result.append(contentsOf: "\\t".unicodeScalars)
      case quote:
        result.append("\\")
        result.append(quote)
      case _ where isPrintable(scalar): result.append(scalar)
      case _ where scalar.value < 0x100:
        result.append(contentsOf: "\\x\(hexadecimal(scalar.value, 2))".unicodeScalars)
      case _ where scalar.value < 0x10000:
        result.append(contentsOf: "\\u\(hexadecimal(scalar.value, 4))".unicodeScalars)
      default: result.append(contentsOf: "\\U\(hexadecimal(scalar.value, 8))".unicodeScalars)
      }
    }
    result.append(quote)
    return String(result)
  }

  static func hexadecimal(_ value: UInt32, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
      .paragraphSeparator:
      false
    case .spaceSeparator: scalar == " "
    default: true
    }
  }
}
