package import Support

/// The chat templates of a model: one, or one more for conversations with tools.
package struct ChatTemplates: Sendable {
  private let standard: ChatTemplate
  private let withTools: ChatTemplate?

  package init(_ standard: ChatTemplate, withTools: ChatTemplate? = nil) {
    self.standard = standard
    self.withTools = withTools
  }

  /// The template of a conversation.
  package func template(of conversation: Conversation) -> ChatTemplate {
    conversation.tools == nil ? standard : withTools ?? standard
  }

  /// The file of the template, for messages.
  package var path: String { standard.path }
  /// Whether a template may ask for the date.
  package var usesDate: Bool { standard.usesDate || withTools?.usesDate == true }
  /// Tells one set of templates from another.
  package var digest: String { standard.digest + (withTools?.digest ?? "") }
}

extension ChatTemplates {
  /// Files of a model directory that may hold its template, the first that exists counting.
  package static let fileNames = ["chat_template.jinja", "chat_template.json"]

  private static let fileByteLimit = 1 << 24

  /// Finds the chat template of a model.
  ///
  /// - Parameters:
  ///   - directory: of the model.
  ///   - path: a file to use in place of the model's own template.
  ///   - date: what `strftime_now` gives.
  /// - Returns: the templates.
  /// - Throws: `UserError` when there is none, or it cannot be read.
  package static func load(
    directory: String, path: String? = nil, date: TemplateDate = .standard
  ) throws(UserError) -> ChatTemplates {
    func json(_ path: String) throws(UserError) -> JSONValue? {
      guard FileSystem.exists(path) else { return nil }
      return try FileSystem.readJSON(path, limit: fileByteLimit)
    }
    let configPath = "\(directory)/tokenizer_config.json"
    let config = try json(configPath)
    let constants = constants(config, try json("\(directory)/special_tokens_map.json"))
    func template(_ text: String, _ path: String) throws(UserError) -> ChatTemplate {
      try ChatTemplate(text, path: path, date: date, constants: constants)
    }
    func templates(_ value: JSONValue, _ path: String) throws(UserError) -> ChatTemplates {
      if let text = value.stringValue { return ChatTemplates(try template(text, path)) }
      var named: [String: String] = [:]
      for entry in value.arrayValue ?? [] {
        if let name = entry["name"]?.stringValue, let text = entry["template"]?.stringValue {
          named[name] = text
        }
      }
      guard let standard = named["default"] else {
        throw UserError(
          .badInput, at: path,
          "chat_template is neither a text nor a list with a template named \"default\"",
          fix: "give a template with --chat-template FILE")
      }
      return ChatTemplates(
        try template(standard, path),
        withTools: try named["tool_use"].map { text throws(UserError) in try template(text, path) })
    }
    if let path {
      if path.hasSuffix(".json"), let value = try json(path)?["chat_template"] {
        return try templates(value, path)
      }
      return ChatTemplates(try template(text(path), path))
    }
    if FileSystem.exists("\(directory)/chat_template.jinja") {
      let path = "\(directory)/chat_template.jinja"
      return ChatTemplates(try template(text(path), path))
    }
    for path in ["\(directory)/chat_template.json", configPath] {
      if let value = try json(path)?["chat_template"], !value.isNull {
        return try templates(value, path)
      }
    }
    throw UserError(
      .badInput, at: directory,
      "the rows are conversations, but the model has no chat template: neither "
        + "chat_template.jinja nor a chat_template in tokenizer_config.json is there",
      fix: "give the template of the model's family with --chat-template FILE")
  }

  private static func text(_ path: String) throws(UserError) -> String {
    let bytes = try FileSystem.readBytes(path, limit: fileByteLimit)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw UserError(
        .badInput, at: path, "the chat template is not UTF-8", fix: "save the file as UTF-8")
    }
    return text
  }

  /// The special tokens, which templates read as `bos_token` and so on.
  private static func constants(_ config: JSONValue?, _ map: JSONValue?)
    -> [(name: String, value: JSONValue)]
  {
    func text(_ value: JSONValue) -> JSONValue? {
      (value.stringValue ?? value["content"]?.stringValue).map { .string($0) }
    }
    var constants: [(name: String, value: JSONValue)] = []
    for name in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"].map({ "\($0)_token" }) {
      for document in [config, map] {
        if let value = document?[name].flatMap(text) {
          constants.append((name, value))
          break
        }
      }
    }
    for document in [config, map] {
      guard let list = document?["additional_special_tokens"]?.arrayValue else { continue }
      constants.append(("additional_special_tokens", .array(list.compactMap(text))))
      break
    }
    return constants
  }
}
