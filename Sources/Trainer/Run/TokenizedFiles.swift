internal import Data
internal import Support

/// The tokens of data files, whole and uncut, and what made them: where `train`, `evaluate` and
/// `data` begin.
struct TokenizedFiles {
  let sources: [Dataset.Source]
  let builder: SampleBuilder
  /// Nil when the model directory has none; rows were tokens then.
  let tokenizer: LoadedTokenizer?
  /// How rows are read, and with which chat template.
  let formatSummary: String
  private let readers: [DatasetReader]
  private let chatTemplates: Result<ChatTemplates, UserError>

  /// Tokenizes files, or finds their tokens in the cache.
  init(_ request: SampleSet.Request, cache: TokenCache) throws {
    let options = request.options
    let prompt = try options.prompt.map { text throws(UserError) in
      try RowTemplate(text, name: "--prompt")
    }
    let completion = try options.completion.map { text throws(UserError) in
      try RowTemplate(text, name: "--completion")
    }
    let readers = try request.sources.map { source throws(UserError) in
      try DatasetReader(
        path: source.path, prompt: prompt, completion: completion,
        vocabularySize: request.vocabularySize)
    }
    let tokenizer: LoadedTokenizer?
    do {
      tokenizer = try Self.tokenizer(
        of: request.modelDirectory, vocabularySize: request.vocabularySize)
    } catch {
      // Rows of tokens need none, so that one of an unknown kind does not matter.
      guard readers.allSatisfy({ (try? $0.holdsTokens()) == true }) else { throw error }
      tokenizer = nil
    }
    let chatTemplates = Result { () throws(UserError) in
      try ChatTemplates.load(
        directory: request.modelDirectory, path: options.chatTemplate, date: options.templateDate)
    }
    let builder = SampleBuilder(
      tokenizer,
      settings: SampleBuilder.Settings(
        trainOn: SampleBuilder.TrainOn(rawValue: request.trainOn.rawValue) ?? .completion,
        maxLength: options.maxLength,
        overlength: SampleBuilder.Overlength(rawValue: options.overlength.rawValue) ?? .error),
      chatTemplates: chatTemplates)
    let formats = try readers.map { reader throws(UserError) in try reader.rowFormat() }
    var templates: ChatTemplates?
    if formats.contains(where: { if case .conversation = $0 { true } else { false } }) {
      templates = try? chatTemplates.get()
    }
    formatSummary = Self.summary(formats.compactMap { $0 }, templates, options)

    var recipe = [
      "prompt \(options.prompt ?? "-")", "completion \(options.completion ?? "-")",
      "train on \(request.trainOn)", "limit \(request.limit ?? 0)",
      "vocabulary \(request.vocabularySize)",
    ]
    if let templates {
      recipe.append("chat template \(templates.digest) \(options.templateDate.text)")
    }
    for name in tokenizer?.fileNames ?? [] {
      recipe.append(
        "\(name) \(try FileDigest.hexadecimal("\(request.modelDirectory)/\(name)"))")
    }
    var sources: [Dataset.Source] = []
    for (source, reader) in zip(request.sources, readers) {
      sources.append(
        Dataset.Source(
          try cache.store(reader, builder, recipe: recipe, limit: request.limit),
          weight: source.weight))
    }
    self.sources = sources
    self.builder = builder
    self.tokenizer = tokenizer
    self.readers = readers
    self.chatTemplates = chatTemplates
  }

  private static func summary(
    _ formats: [RowFormat], _ templates: ChatTemplates?, _ options: SampleOptions
  ) -> String {
    var parts: [String] = []
    for format in formats where !parts.contains(format.summary) { parts.append(format.summary) }
    if let templates {
      let date = templates.usesDate ? ", today is \(options.templateDate.text)" : ""
      parts.append("chat template \(templates.path)" + date)
    }
    return parts.joined(separator: "; ")
  }

  /// Prompts and expected answers of the rows that have both, and what ends a turn of those that
  /// are conversations.
  func questions(limit: Int?) throws -> ([MatchEvaluation.Question], turnEndIDs: Set<Int32>) {
    var turnEndIDs: Set<Int32> = []
    guard let tokenizer else { return ([], []) }
    let bos = tokenizer.addsBOS ? tokenizer.tokenizer.bosID.map { [$0] } ?? [] : []
    var questions: [MatchEvaluation.Question] = []
    for reader in readers {
      var rowCount = 0
      try reader.forEachRow { entry in
        guard rowCount < limit ?? .max else { return false }
        rowCount += 1
        switch entry.row {
        case .pair(let prompt, let completion):
          questions.append(
            MatchEvaluation.Question(
              prompt: bos + (try tokenizer.tokenizer.encode(prompt, isContinuation: false)),
              answer: completion))
        case .conversation(let conversation):
          let encoder = ConversationEncoder(
            try chatTemplates.get().template(of: conversation), tokenizer.tokenizer)
          if let question = try encoder.question(conversation) {
            questions.append(
              MatchEvaluation.Question(prompt: question.prompt, answer: question.answer))
            if let id = question.endID { turnEndIDs.insert(id) }
          }
        case .text, .tokens: break
        }
        return true
      }
    }
    return (questions, turnEndIDs)
  }

  /// The tokenizer of a model directory; nil where there is none.
  private static func tokenizer(of directory: String, vocabularySize: Int) throws(UserError)
    -> LoadedTokenizer?
  {
    let isThere = TokenizerFactory.fileNames.contains {
      $0.hasPrefix("tokenizer.") && FileSystem.exists("\(directory)/\($0)")
    }
    guard isThere else { return nil }
    return try TokenizerFactory.load(directory: directory).bounded(by: vocabularySize)
  }
}
