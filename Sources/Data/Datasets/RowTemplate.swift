package import Support

/// A text with placeholders, `{column}`, that a row fills in.
///
/// `{{` and `}}` stand for the braces themselves, the two characters `\n` for a line end and `\\`
/// for one backslash.
package struct RowTemplate: Sendable, Equatable {
  private enum Part: Equatable {
    case text(String)
    case column(String)
  }

  private var parts: [Part] = []
  /// What the user calls the template, for example `--prompt`.
  private let name: String

  /// The columns that the template names, in order.
  package var columns: [String] {
    parts.compactMap { if case .column(let column) = $0 { column } else { nil } }
  }

  /// Parses a template.
  ///
  /// - Parameters:
  ///   - text: the template as the user wrote it.
  ///   - name: the flag or setting it came from.
  /// - Throws: `UserError` when a brace has no partner or a placeholder no name.
  package init(_ text: String, name: String) throws(UserError) {
    self.name = name
    var literal = ""
    var column: String?
    var scalars = text.unicodeScalars[...]
    while let scalar = scalars.popFirst() {
      if let open = column {
        if scalar == "}" {
          guard !open.isEmpty else {
            throw Self.broken(text, name, "holds the placeholder {} without a column name")
          }
          parts.append(.column(open))
          column = nil
        } else if scalar == "{" {
          throw Self.broken(text, name, "has a { inside the placeholder {\(open)")
        } else {
          column?.unicodeScalars.append(scalar)
        }
        continue
      }
      switch (scalar, scalars.first) {
      case ("\\", "n"):
        literal += "\n"
        scalars.removeFirst()
      case ("\\", "\\"), ("{", "{"), ("}", "}"):
        literal.unicodeScalars.append(scalar)
        scalars.removeFirst()
      case ("{", _):
        if !literal.isEmpty { parts.append(.text(literal)) }
        literal = ""
        column = ""
      case ("}", _): throw Self.broken(text, name, "has a } without a {")
      default: literal.unicodeScalars.append(scalar)
      }
    }
    if let column { throw Self.broken(text, name, "has no } after {\(column)") }
    if !literal.isEmpty { parts.append(.text(literal)) }
  }

  private static func broken(_ text: String, _ name: String, _ reason: String) -> UserError {
    UserError(
      .usage, at: name, "\"\(text)\" \(reason)",
      fix: "write {column} for a column, and {{ or }} for a brace itself")
  }

  /// The text of one row.
  ///
  /// - Parameters:
  ///   - row: its columns: texts, integers or booleans where the template names them.
  ///   - location: file and line, for errors.
  /// - Returns: the template with every placeholder replaced.
  /// - Throws: `UserError` when a column is missing or is nothing to be put into a text.
  func render(_ row: JSONObject, at location: String) throws(UserError) -> String {
    var text = ""
    for part in parts {
      switch part {
      case .text(let literal): text += literal
      case .column(let column):
        guard let value = row[column] else {
          throw UserError(
            .badInput, at: location,
            "\(name) names the column \"\(column)\", but the row has \(row.columnList)",
            fix: "name one of the row's columns in \(name), or add the column to the row")
        }
        switch value {
        case .string(let string): text += string
        case .integer, .bool: text += value.compactText
        default:
          throw UserError(
            .badInput, at: location,
            "the column \"\(column)\" is \(value.kindName), but \(name) needs a text",
            fix: "write the value as a string")
        }
      }
    }
    return text
  }
}

extension JSONObject {
  /// The names for messages: `the columns "a" and "b"`.
  var columnList: String {
    let quoted = names.prefix(20).map { "\"\($0)\"" } + (count > 20 ? ["\(count - 20) more"] : [])
    switch quoted.count {
    case 0: return "no columns"
    case 1: return "only the column \(quoted[0])"
    default:
      return
        "the columns \(quoted.dropLast().joined(separator: ", ")) and \(quoted[quoted.count - 1])"
    }
  }
}
