package import Data
package import Support

/// The settings of every command that reads samples.
package struct SampleOptions: Sendable, Equatable {
  /// What becomes of a sample longer than ``maxLength``.
  package enum Overlength: String, Sendable, CaseIterable {
    case error, drop
    case truncatePrompt = "truncate-prompt"
  }

  /// A JSONL file; nil is the embedded demo data.
  package var data: String?
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

  package static let dataOption = Option(
    "data", .path, defaultText: "the embedded demo data",
    "JSONL file of samples, one object a line.")

  package static let templateOptions = [
    Option(
      "prompt", .text(placeholder: "TEMPLATE"), defaultText: "from the columns of the data",
      #"Text before the answer, with {column} for a column of the data and \n for a new line."#),
    Option(
      "completion", .text(placeholder: "TEMPLATE"), defaultText: "from the columns of the data",
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
      "What to do with longer samples; the answer is never cut."),
  ]

  /// Takes the settings and checks how they go together.
  package init(_ options: ParsedOptions) throws(UserError) {
    data = options.textIfAny("data")
    prompt = options.textIfAny("prompt")
    completion = options.textIfAny("completion")
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
      ("data", .init(data)),
      ("prompt", .init(prompt)),
      ("completion", .init(completion)),
      ("chat-template", .init(chatTemplate)),
      ("template-date", .string(templateDate.text)),
      ("max-length", .integer(maxLength)),
      ("overlength", .string(overlength.rawValue)),
    ]
  }
}

/// The rule that a model and its data come together: both, or neither for the demo.
func checkModelAndData(_ options: ParsedOptions) throws(UserError) {
  for (present, missing) in [("model", "data"), ("data", "model")] {
    guard options.textIfAny(present) != nil, options.textIfAny(missing) == nil else { continue }
    throw options.error(
      present, "given without --\(missing); a run has both, or neither for the embedded demo",
      fix: "add --\(missing), or leave --\(present) out")
  }
}
