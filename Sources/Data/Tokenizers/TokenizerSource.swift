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
      fix:
        "use a model whose tokenizer.json is BPE with usual components (GPT-2, Llama, Mistral, Qwen)"
    )
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

  /// A token that is recognised in text.
  func addedToken(_ entry: JSONValue, id: Int) throws(UserError) -> AddedToken {
    let idLimit = TokenizerDefinition.idLimit
    guard let content = entry["content"]?.stringValue, !content.isEmpty,
      content.utf8.count <= Self.addedTokenByteLimit, (0..<idLimit).contains(id)
    else {
      throw broken(
        "the added token \(id) has no content of up to \(Self.addedTokenByteLimit) bytes, or no id "
          + "below \(idLimit)")
    }
    let isSpecial = try flag(entry, "special")
    return AddedToken(
      id: Int32(id), content: content, isSpecial: isSpecial,
      stripsLeft: try flag(entry, "lstrip"), stripsRight: try flag(entry, "rstrip"),
      isNormalized: try flag(entry, "normalized", default: !isSpecial),
      isSingleWord: try flag(entry, "single_word"))
  }

  /// No published token comes near.
  private static let addedTokenByteLimit = 1024

  /// A text member, empty where there is none.
  func optionalText(_ object: JSONValue, _ name: String) throws(UserError) -> String {
    guard let value = object[name], !value.isNull else { return "" }
    guard let text = value.stringValue else {
      throw broken("\(name) is \(value.kindName), not a text")
    }
    return text
  }

  private func text(_ object: JSONValue, _ name: String) throws(UserError) -> [UInt8] {
    guard let text = object[name]?.stringValue, !text.isEmpty else {
      throw broken("\(object["type"]?.stringValue ?? "a step") has no text \"\(name)\"")
    }
    return Array(text.utf8)
  }

  /// No published tokenizer comes near; each may hold a pattern that takes time to prepare.
  private static let stepLimit = 64

  /// The steps of a component: those of a Sequence, or itself.
  private func steps(_ value: JSONValue, _ listName: String) throws(UserError) -> [JSONValue] {
    if value.isNull { return [] }
    guard value["type"]?.stringValue == "Sequence" else { return [value] }
    guard let list = value[listName]?.arrayValue else {
      throw broken("a Sequence without a list \"\(listName)\"")
    }
    var result: [JSONValue] = []
    for step in list { result += try steps(step, listName) }
    guard result.count <= Self.stepLimit else {
      throw broken("\(listName) has more than \(Self.stepLimit) steps")
    }
    return result
  }

  private func kind(_ step: JSONValue) -> String { step["type"]?.stringValue ?? "without a type" }

  /// The text that a Replace step looks for.
  private func plainPattern(_ step: JSONValue, _ component: String) throws(UserError) -> [UInt8] {
    guard let pattern = step["pattern"]?["String"]?.stringValue, !pattern.isEmpty else {
      throw unsupported("\(component) Replace with a pattern other than a plain text")
    }
    return Array(pattern.utf8)
  }

  /// A regular expression, or a text as one.
  private func expression(_ step: JSONValue) throws(UserError) -> Pattern {
    let pattern = step["pattern"]
    do throws(PatternError) {
      if let text = pattern?["Regex"]?.stringValue { return try Pattern(text) }
      if let text = pattern?["String"]?.stringValue { return try Pattern(literal: text) }
    } catch {
      throw unsupported("the pattern of \(kind(step)): \(error.reason) it")
    }
    throw broken("\(kind(step)) has no pattern that is a Regex or a String")
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
        let isText = step["pattern"]?["String"] != nil
        result.append(
          .replace(
            isText
              ? .text(try plainPattern(step, "normalizer")) : .expression(try expression(step)),
            content: try content(step)))
      case "NFC": result.append(.form(.nfc))
      case "NFD": result.append(.form(.nfd))
      case "NFKC": result.append(.form(.nfkc))
      case "NFKD": result.append(.form(.nfkd))
      case "Lowercase": result.append(.lowercase)
      case "StripAccents": result.append(.stripAccents)
      case "Strip":
        result.append(
          .strip(
            left: try flag(step, "strip_left", default: true),
            right: try flag(step, "strip_right", default: true)))
      case let other: throw unsupported("normalizer \"\(other)\"")
      }
    }
    return result
  }

  func preTokenizer(_ value: JSONValue) throws(UserError) -> [PreTokenizerStep] {
    var result: [PreTokenizerStep] = []
    for step in try steps(value, "pretokenizers") {
      switch kind(step) {
      case "Metaspace":
        result.append(
          .metaspace(
            Metaspace(
              replacement: try text(step, "replacement"), scheme: try scheme(step),
              splits: try flag(step, "split", default: true))))
      case "Split":
        result.append(
          .split(
            try expression(step), try behavior(step),
            isInverted: try flag(step, "invert")))
      case "ByteLevel":
        if try flag(step, "add_prefix_space", default: true) { result.append(.prefixSpace) }
        if try flag(step, "use_regex", default: true) {
          result.append(
            .split(try known(text: KnownPattern.gpt2Text), .isolated, isInverted: false))
        }
        result.append(.byteLevel)
      case "Digits":
        let isEach = try flag(step, "individual_digits")
        result.append(
          .split(
            try known(.set(UnicodeClass.number)), isEach ? .isolated : .contiguous,
            isInverted: false))
      case "Whitespace":
        result.append(.split(try known(KnownPattern.words), .removed, isInverted: true))
      case "WhitespaceSplit":
        result.append(.split(try known(.set(UnicodeClass.space)), .removed, isInverted: false))
      case "Punctuation":
        result.append(
          .split(
            try known(KnownPattern.punctuation),
            step["behavior"] == nil ? .isolated : try behavior(step), isInverted: false))
      case let other: throw unsupported("pre_tokenizer \"\(other)\"")
      }
    }
    return result
  }

  func known(text: String) throws(UserError) -> Pattern {
    do throws(PatternError) { return try Pattern(text) } catch {
      throw unsupported("a pattern of the program: \(error.reason)")
    }
  }

  private func known(_ node: PatternNode) throws(UserError) -> Pattern {
    do throws(PatternError) { return try Pattern(node) } catch {
      throw unsupported("a pattern of the program: \(error.reason)")
    }
  }

  private func behavior(_ step: JSONValue) throws(UserError) -> SplitBehavior {
    let name = step["behavior"]?.stringValue ?? "none"
    guard let behavior = SplitBehavior(rawValue: name) else {
      throw broken("the behavior of \(kind(step)) is \"\(name)\"")
    }
    return behavior
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
        result.append(
          .replace(pattern: try plainPattern(step, "decoder"), content: try content(step)))
      case "ByteFallback": result.append(.byteFallback)
      case "ByteLevel": result.append(.byteLevel)
      case "BPEDecoder": result.append(.wordSuffix(try text(step, "suffix")))
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
      switch kind(step) {
      case "TemplateProcessing": try readTemplate(step, &before, &after)
      case "BertProcessing", "RobertaProcessing":
        guard let first = step["cls"]?.arrayValue?.first?.stringValue,
          let last = step["sep"]?.arrayValue?.first?.stringValue
        else { throw broken("\(kind(step)) without cls and sep") }
        before.insert(first, at: 0)
        after.append(last)
      // It changes offsets only.
      case "ByteLevel": break
      case let other: throw unsupported("post_processor \"\(other)\"")
      }
    }
    return (before, after)
  }

  private func readTemplate(_ step: JSONValue, _ before: inout [String], _ after: inout [String])
    throws(UserError)
  {
    guard let parts = step["single"]?.arrayValue else {
      throw broken("TemplateProcessing has no list \"single\"")
    }
    var first: [String] = []
    var hasText = false
    for part in parts {
      if part["Sequence"] != nil {
        guard !hasText else { throw unsupported("a template with the text twice") }
        hasText = true
      } else if let token = part["SpecialToken"]?["id"]?.stringValue {
        if hasText { after.append(token) } else { first.append(token) }
      } else {
        throw broken("a part of TemplateProcessing is neither a text nor a special token")
      }
    }
    before = first + before
  }
}
