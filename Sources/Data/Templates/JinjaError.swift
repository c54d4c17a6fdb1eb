/// Why a template cannot be read or rendered.
struct JinjaError: Error, Equatable {
  enum Kind: Equatable {
    /// The text is no template.
    case syntax
    /// A value does not fit what is done with it.
    case evaluation
    /// The template itself refused its input, with `raise_exception`.
    case raised
    /// The template takes more time or memory than it may.
    case limit
  }

  var kind: Kind
  var message: String
  /// From 1 on; nil where it is not known yet.
  var line: Int?

  init(_ message: String) {
    self.init(.evaluation, message)
  }

  init(_ kind: Kind, _ message: String, line: Int? = nil) {
    self.kind = kind
    self.message = message
    self.line = line
  }
}

/// What bounds the time and memory of a template from outside.
enum JinjaLimits {
  static let templateBytes = 1 << 20
  /// Nodes evaluated, and work that grows with the size of values.
  static let steps = 4_000_000
  static let outputBytes = 1 << 26
  /// Bytes of one text.
  static let textBytes = 1 << 24
  /// Elements of one list.
  static let elements = 1 << 20
  /// How deep statements, expressions and macros may nest while they run: each level takes stack.
  static let depth = 600
  /// How deep values may nest.
  static let valueDepth = 160
  /// As in jinja2's sandbox.
  static let rangeElements = 100_000

  /// Throws where a list would be too long.
  static func checkElements(_ count: Int) throws {
    guard count <= elements else {
      throw JinjaError(.limit, "a list of more than \(elements) elements")
    }
  }

  /// Throws where a text would be too long.
  static func checkText(_ byteCount: Int) throws {
    guard byteCount <= textBytes else {
      throw JinjaError(.limit, "a text of more than \(textBytes) bytes")
    }
  }
}
