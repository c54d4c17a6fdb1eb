package import Support

/// A chat template: what turns a conversation into the text that a model is trained on.
///
/// It is a Jinja template and runs as in transformers: `trim_blocks` and `lstrip_blocks` are on,
/// `break`, `continue`, `generation` blocks, `raise_exception`, `strftime_now` and JSON without
/// escapes are there; nothing but the data can be reached.
package struct ChatTemplate: Sendable {
  /// What a template made of its variables.
  package struct Rendering: Sendable, Equatable {
    /// UTF-8.
    package var bytes: [UInt8]
    /// Bytes that stand in `generation` blocks, in order.
    package var generated: [Range<Int>] = []

    package var text: String { String(decoding: bytes, as: UTF8.self) }
  }

  /// The file that it came from, for errors.
  package let path: String
  /// SHA-256 of its text, its date and its fixed variables.
  package let digest: String
  private let program: JinjaProgram
  let partReading = PartReading()
  private let date: TemplateDate
  private let constants: [(name: String, value: JSONValue)]

  /// The text of the token that ends answers, where the model names one.
  var endToken: String? { constant("eos_token") }

  /// The text of a constant, such as `bos_token`.
  func constant(_ name: String) -> String? {
    constants.first { $0.name == name }?.value.stringValue
  }

  /// Whether the template marks what the model writes, with `generation` blocks.
  package var marksGeneration: Bool { program.hasGeneration }
  /// Whether the template may ask for the date.
  package var usesDate: Bool { program.names.contains("strftime_now") }

  /// Reads a template.
  ///
  /// - Parameters:
  ///   - text: its source.
  ///   - path: the file it came from.
  ///   - date: what `strftime_now` gives.
  ///   - constants: variables of every rendering, such as `bos_token`.
  /// - Throws: `UserError` with the line, when it is no template or uses what is not supported.
  package init(
    _ text: String, path: String, date: TemplateDate = .standard,
    constants: [(name: String, value: JSONValue)] = []
  ) throws(UserError) {
    do {
      program = try JinjaParser.parse(text)
    } catch let error as JinjaError {
      throw UserError(
        .badInput, at: error.line.map { "\(path):\($0)" } ?? path,
        "the chat template cannot be read: \(error.message)",
        fix: "correct the template, or give another with --chat-template FILE")
    } catch {
      throw UserError(.badInput, at: path, "the chat template cannot be read: \(error)")
    }
    self.path = path
    self.date = date
    self.constants = constants
    let settings = constants.map { "\($0.name)=\($0.value.compactText)" }.joined(separator: "\n")
    digest = SHA256.hexadecimal(Array("\(date.text)\n\(settings)\n\(text)".utf8))
  }

  /// Renders the template.
  ///
  /// - Parameter variables: what it sees beside its constants.
  /// - Returns: the text, and which parts of it the template marks as the model's.
  /// - Throws: `UserError` without a location of data, which the caller adds: the template refused
  ///   the variables, failed, or would not end.
  package func render(_ variables: [(name: String, value: JSONValue)]) throws(UserError)
    -> Rendering
  {
    let renderer = JinjaRenderer(program, date: date)
    do {
      let values = try (constants + variables).map {
        (name: $0.name, value: try JinjaValue($0.value))
      }
      let bytes = try renderer.render(values)
      guard !renderer.hasHiddenGeneration else {
        throw JinjaError("a generation block stands inside a macro or a set block")
      }
      return Rendering(bytes: bytes, generated: renderer.generated)
    } catch let error as JinjaError {
      throw failure(error)
    } catch {
      throw UserError(.badInput, "the chat template failed: \(error)")
    }
  }

  private func failure(_ error: JinjaError) -> UserError {
    let place = error.line.map { "\(path):\($0)" } ?? path
    switch error.kind {
    case .raised:
      return UserError(
        .badInput, "the chat template refuses the conversation: \(error.message) (\(place))",
        fix: "correct the row, or give another template with --chat-template FILE")
    case .limit:
      return UserError(
        .badInput, "the chat template takes too much: \(error.message) (\(place))",
        fix: "correct the template, or give another with --chat-template FILE")
    case .syntax, .evaluation:
      return UserError(
        .badInput, "the chat template fails: \(error.message) (\(place))",
        fix: "correct the row or the template, or give another with --chat-template FILE")
    }
  }
}
