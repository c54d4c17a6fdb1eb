package import Data
package import Support

/// The settings of every command that reads samples.
package struct SampleOptions: Sendable, Equatable {
  /// What becomes of a sample longer than ``maxLength``.
  package enum Overlength: String, Sendable, CaseIterable {
    case error, drop
    case truncatePrompt = "truncate-prompt"
    case split
  }

  /// Data files; none is the embedded demo data.
  package var data: [DataSource]
  /// Template of the text before the answer, `{column}` for a column and `\n` for a line
  /// end, as written; nil: from the columns.
  package var prompt: String?
  /// Template of the answer; nil: from the columns.
  package var completion: String?
  /// A file with a chat template; nil: the model's own.
  package var chatTemplate: String?
  /// What a chat template takes for today.
  package var templateDate: TemplateDate
  /// Tokens, the end token included.
  package var maxLength: Int
  package var overlength: Overlength
  /// Directory of tokenized data; nil: the program's own.
  package var cache: String?
  package var usesCache: Bool

  package static let dataOption = Option(
    "data", .paths(placeholder: "PATH[:WEIGHT]"), defaultText: "the embedded demo data",
    "File of rows: JSONL, a JSON array, CSV or TSV with a header row, or gzip of these. May be "
      + "given several times. PATH:2 shows each row of the file twice an epoch, PATH:0.5 a half "
      + "of its rows, chosen by hash of the row. synthetic:64x2048 is 64 rows of 2048 random tokens."
  )

  package static let templateOptions = [
    Option(
      "prompt", .text(placeholder: "TEMPLATE"), defaultText: "from the columns of the first row",
      "Text before the answer, with {column} for a column of the data and \\n for a new line. "
        + "Without it the first of these that the first row of a file has tells how its rows are "
        + "read: input_ids; messages; conversations; instruction and output, put into Alpaca's "
        + "prompt; prompt and completion; input and output; text."),
    Option(
      "completion", .text(placeholder: "TEMPLATE"),
      defaultText: "from the columns of the first row",
      "The answer to learn, written like --prompt; the end token follows it."),
    Option(
      "chat-template", .path, defaultText: "the model's own",
      "Jinja file that makes a text of conversations."),
    Option(
      "template-date", .text(placeholder: "YYYY-MM-DD"),
      default: .text(TemplateDate.standard.text),
      "Today's date for chat templates that ask for it."),
  ]

  package static let lengthOptions = [
    Option(
      "max-length", .integer(2...1 << 24), default: .integer(2048),
      "Most tokens of a sample, its end token included."),
    Option(
      "overlength", .choice(words(Overlength.self)), default: .text("error"),
      "What to do with longer samples: stop, leave them out, or cut the prompt at its left. The "
        + "answer is never cut, but split makes several samples of one, each of which begins with "
        + "the last token of the one before and knows nothing more of it; every token is trained "
        + "once."),
  ]

  package static let cacheOptions = [
    Option(
      "cache", .path, defaultText: "$XDG_CACHE_HOME/accelerate-swift",
      "Directory where tokenized data are kept for the next run: up to 20 GB, or as many as "
        + "ACCELERATE_CACHE_GB says; those not used for longest go first. It may be deleted."),
    Option(
      "no-cache", .toggle, "Keeps tokenized data in the memory of each process, not in files."),
  ]

  /// Takes the settings and checks how they go together.
  package init(_ options: ParsedOptions) throws(UserError) {
    data = try DataSource.parse(options)
    prompt = options.textIfAny("prompt")
    completion = options.textIfAny("completion")
    cache = options.textIfAny("cache")
    usesCache = !options.flag("no-cache")
    chatTemplate = options.textIfAny("chat-template")
    let date = options.textIfAny("template-date") ?? TemplateDate.standard.text
    guard let templateDate = TemplateDate(date) else {
      throw options.error(
        "template-date", "\"\(date.prefix(40))\" is no date",
        fix: "write it as \(TemplateDate.standard.text)")
    }
    self.templateDate = templateDate
    maxLength = options.integer("max-length")
    overlength = options.choice("overlength", as: Overlength.self)
    if prompt != nil && completion == nil {
      throw options.error(
        "prompt", "gives the text before the answer, but --completion is missing",
        fix: "add --completion, for example --completion '{output}'")
    }
    if completion != nil && prompt == nil {
      throw options.error(
        "completion", "gives the answer, but --prompt is missing",
        fix: "add --prompt, also an empty one: --prompt ''")
    }
  }

  /// The settings as lines of `run.yaml`.
  var settings: [(name: String, value: JSONValue)] {
    [
      ("data", data.isEmpty ? .null : .array(data.map { .string($0.text) })),
      ("prompt", .init(prompt)),
      ("completion", .init(completion)),
      ("chat-template", .init(chatTemplate)),
      ("template-date", .string(templateDate.text)),
      ("max-length", .integer(maxLength)),
      ("overlength", .string(overlength.rawValue)),
      ("cache", .init(cache)),
      ("no-cache", .bool(!usesCache)),
    ]
  }
}

/// The rule that a model and its data come together: both, or neither for the demo.
func checkModelAndData(_ options: ParsedOptions) throws(UserError) {
  for (present, missing) in [("model", "data"), ("data", "model")] {
    guard options.isGiven(present), !options.isGiven(missing) else { continue }
    throw options.error(
      present, "given without --\(missing); a run has both, or neither for the embedded demo",
      fix: "add --\(missing), or leave --\(present) out")
  }
}
