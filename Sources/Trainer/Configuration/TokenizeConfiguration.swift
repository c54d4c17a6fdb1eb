package import Support

/// Every setting of `tokenize`, checked.
package struct TokenizeConfiguration: Sendable, Equatable {
  /// The directory with the tokenizer's files; nil for the demo's.
  package var model: String?
  package var addsSpecialTokens: Bool
  package var decodes: Bool
  /// 0 takes as many as there are processors.
  package var threads: Int

  /// The flags of `tokenize`.
  package static let parser = CommandLineParser(
    command: "accelerate-swift tokenize",
    summary: "Reads one JSON string a line from standard input and prints the array of its token "
      + "ids; or the other way round.",
    groups: [
      OptionGroup(
        "Tokenizer",
        [
          Option(
            "model", .text(placeholder: "DIR"), defaultText: "the demo's",
            "Directory with tokenizer.json, tokenizer.model, or vocab.json and merges.txt."),
          Option(
            "no-special", .toggle,
            "Adds no token that begins or ends a text; with --decode leaves special tokens out."),
          Option("decode", .toggle, "Reads an array of ids a line and prints the text."),
        ]),
      OptionGroup(
        "Speed",
        [
          Option(
            "threads", .integer(0...1024), default: .integer(0),
            "Threads; 0 takes one for each processor. The output does not depend on it."),
          CommandLineParser.configurationOption,
        ]),
    ])

  package init(_ options: ParsedOptions) {
    model = options.textIfAny("model")
    addsSpecialTokens = !options.flag("no-special")
    decodes = options.flag("decode")
    threads = options.integer("threads")
  }
}
