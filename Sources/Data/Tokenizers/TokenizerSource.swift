internal import Support

/// Reads the parts of a `tokenizer.json` that describe text processing, and words its errors.
struct TokenizerSource {
  let path: String

  func broken(_ reason: String) -> UserError {
    UserError(
      .badInput, at: path, reason, fix: "download the file again from where the model came from")
  }

  func unsupported(_ part: String) -> UserError {
    UserError(
      .badInput, at: path, "\(part) is not supported",
      fix: "use a model with a BPE tokenizer of the Llama or Mistral family")
  }

  /// A boolean member, or `absent` where there is none.
  func flag(_ object: JSONValue, _ name: String, default absent: Bool = false)
    throws(UserError) -> Bool
  {
    guard let value = object[name], !value.isNull else { return absent }
    guard let flag = value.boolValue else {
      throw broken("\(name) is \(value.kindName), not true or false")
    }
    return flag
  }

  private func text(_ object: JSONValue, _ name: String) throws(UserError) -> [UInt8] {
    guard let text = object[name]?.stringValue, !text.isEmpty else {
      throw broken("\(object["type"]?.stringValue ?? "a step") has no text \"\(name)\"")
    }
    return Array(text.utf8)
  }

  /// The steps of a component: those of a Sequence, or itself.
  private func steps(_ value: JSONValue, _ listName: String) throws(UserError) -> [JSONValue] {
    if value.isNull { return [] }
    guard value["type"]?.stringValue == "Sequence" else { return [value] }
    guard let list = value[listName]?.arrayValue else {
      throw broken("a Sequence without a list \"\(listName)\"")
    }
    var result: [JSONValue] = []
    for step in list { result += try steps(step, listName) }
    return result
  }

  private func kind(_ step: JSONValue) -> String { step["type"]?.stringValue ?? "without a type" }

  private func pattern(_ step: JSONValue, _ component: String) throws(UserError) -> [UInt8] {
    guard let pattern = step["pattern"]?["String"]?.stringValue, !pattern.isEmpty else {
      throw unsupported("\(component) Replace with a pattern other than a plain text")
    }
    return Array(pattern.utf8)
  }

  private func content(_ step: JSONValue) throws(UserError) -> [UInt8] {
    guard let content = step["content"]?.stringValue else {
      throw broken("Replace has no text \"content\"")
    }
    return Array(content.utf8)
  }

  func normalizer(_ value: JSONValue) throws(UserError) -> [NormalizerStep] {
    var result: [NormalizerStep] = []
    for step in try steps(value, "normalizers") {
      switch kind(step) {
      case "Prepend": result.append(.prepend(try text(step, "prepend")))
      case "Replace":
        result.append(
          .replace(pattern: try pattern(step, "normalizer"), content: try content(step)))
      case let other: throw unsupported("normalizer \"\(other)\"")
      }
    }
    return result
  }

  func preTokenizer(_ value: JSONValue) throws(UserError) -> Metaspace? {
    let list = try steps(value, "pretokenizers")
    guard let step = list.first else { return nil }
    guard list.count == 1 else { throw unsupported("a sequence of \(list.count) pre-tokenizers") }
    guard kind(step) == "Metaspace" else { throw unsupported("pre_tokenizer \"\(kind(step))\"") }
    return Metaspace(
      replacement: try text(step, "replacement"), scheme: try scheme(step),
      splits: try flag(step, "split", default: true))
  }

  private func scheme(_ step: JSONValue) throws(UserError) -> Metaspace.PrependScheme {
    if try !flag(step, "add_prefix_space", default: true) { return .never }
    switch step["prepend_scheme"]?.stringValue ?? "always" {
    case "first": return .first
    case "always": return .always
    case "never": return .never
    case let other: throw broken("prepend_scheme is \"\(other)\", not first, always or never")
    }
  }

  func decoder(_ value: JSONValue) throws(UserError) -> [DecoderStep]? {
    if value.isNull { return nil }
    var result: [DecoderStep] = []
    for step in try steps(value, "decoders") {
      switch kind(step) {
      case "Replace":
        result.append(.replace(pattern: try pattern(step, "decoder"), content: try content(step)))
      case "ByteFallback": result.append(.byteFallback)
      case "Fuse": result.append(.fuse)
      case "Strip":
        guard let start = step["start"]?.intValue, let stop = step["stop"]?.intValue,
          (0...1024).contains(start), (0...1024).contains(stop)
        else { throw broken("Strip has no start and stop from 0 to 1024") }
        result.append(.strip(content: try text(step, "content"), start: start, stop: stop))
      case "Metaspace":
        result.append(
          .metaspace(replacement: try text(step, "replacement"), scheme: try scheme(step)))
      case let other: throw unsupported("decoder \"\(other)\"")
      }
    }
    return result
  }

  /// The special tokens that a post-processor puts around a single text.
  func template(_ value: JSONValue) throws(UserError) -> (before: [String], after: [String]) {
    var before: [String] = []
    var after: [String] = []
    for step in try steps(value, "processors") {
      guard kind(step) == "TemplateProcessing" else {
        throw unsupported("post_processor \"\(kind(step))\"")
      }
      guard let parts = step["single"]?.arrayValue else {
        throw broken("TemplateProcessing has no list \"single\"")
      }
      var hasText = false
      for part in parts {
        if part["Sequence"] != nil {
          hasText = true
        } else if let token = part["SpecialToken"]?["id"]?.stringValue {
          if hasText { after.append(token) } else { before.append(token) }
        } else {
          throw broken("a part of TemplateProcessing is neither a text nor a special token")
        }
      }
    }
    return (before, after)
  }
}
