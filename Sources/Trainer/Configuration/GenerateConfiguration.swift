package import Support

/// Every setting of `generate`, checked.
package struct GenerateConfiguration: Sendable, Equatable {
  package var base: ModelOptions
  package var adapter: String?
  /// The text to complete.
  package var prompt: String
  package var maxNewTokens: Int
  /// Also prints what the base alone writes.
  package var compares: Bool

  /// The flags of `generate`.
  package static let parser = CommandLineParser(
    command: "accelerate-swift generate",
    summary: "Completes a prompt with a base model and its adapter, taking the likeliest token "
      + "each time.",
    groups: [
      OptionGroup(
        "Model and prompt",
        [
          ModelOptions.modelOption, EvaluateConfiguration.adapterOption,
          Option(
            "prompt", .text(placeholder: "TEXT"), defaultText: "none, required",
            #"The text to complete; \n is a new line."#),
          Option(
            "max-new-tokens", .integer(1...1 << 20), default: .integer(128),
            "Most tokens to write."),
          Option("compare", .toggle, "Prints what the base alone writes, too."),
        ]),
      OptionGroup(
        "Memory and speed",
        ModelOptions.storageOptions + ModelOptions.machineOptions
          + [CommandLineParser.configurationOption]),
    ])

  package init(_ options: ParsedOptions) throws(UserError) {
    base = try ModelOptions(options)
    adapter = options.textIfAny("adapter")
    guard let text = options.textIfAny("prompt"), !text.isEmpty else {
      throw options.error(
        "prompt", "missing; there is nothing to complete", fix: "add --prompt 'TEXT'")
    }
    // Shells pass \n on as two characters; YAML has read it already.
    prompt = options.origin(of: "prompt") == .commandLine ? Self.unescaped(text) : text
    maxNewTokens = options.integer("max-new-tokens")
    compares = options.flag("compare")
    if compares && adapter == nil {
      throw options.error(
        "compare", "sets base and adapter side by side, but --adapter is missing",
        fix: "add --adapter, or leave --compare out")
    }
  }

  /// `\n`, `\t` and `\\` as in YAML; other backslashes stand for themselves.
  private static func unescaped(_ text: String) -> String {
    var result = ""
    var rest = text[...]
    while let character = rest.popFirst() {
      switch (character, rest.first) {
      case ("\\", "n"): result += "\n"
      case ("\\", "t"): result += "\t"
      case ("\\", "\\"): result += "\\"
      default:
        result.append(character)
        continue
      }
      rest.removeFirst()
    }
    return result
  }
}
