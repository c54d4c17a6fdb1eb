internal import Data
internal import DistributedTraining
internal import Model
internal import Support

/// One run of `generate`: completes a prompt and prints the text as it comes.
struct GenerateRun {
  let configuration: GenerateConfiguration
  let environment: ProgramEnvironment
  let group: any ProcessGroup

  /// Completes the prompt.
  ///
  /// - Returns: the exit code.
  /// - Throws: ``UserError`` and what the device throws.
  func run() throws -> Int32 {
    let isDemo = configuration.base.model == nil
    let demo = isDemo ? try Demo.materialize(cacheDirectory: environment.cacheDirectory) : nil
    let directory = configuration.base.model ?? demo?.model ?? ""
    let session = try ModelSession(
      configuration.base, directory: directory, group: group, environment: environment)
    let shape = session.base.configuration
    let loaded = try TokenizerFactory.load(directory: directory)
      .bounded(by: shape.vocabularySize)
    let bos = loaded.addsBOS ? loaded.tokenizer.bosID.map { [$0] } ?? [] : []
    let prompt = bos + (try loaded.tokenizer.encode(configuration.prompt, isContinuation: false))
    guard !prompt.isEmpty else {
      throw UserError(.usage, at: "--prompt", "has no tokens; there is nothing to complete")
    }
    var endIDs = Set(shape.eosIDs.map { Int32(truncatingIfNeeded: $0) })
    if let id = loaded.tokenizer.eosID { endIDs.insert(id) }
    let adapter = try configuration.adapter.map { path throws(UserError) in
      try AdapterFile(directory: path, configuration: shape, base: session.base.source)
    }
    let bytes = try session.makePlan(adapters: adapter?.layout).generationByteCount(
      tokenCount: prompt.count, textCount: 1)

    /// Writes one completion, token by token.
    func complete(_ adapters: AdapterWeights?, title: String?) throws {
      let model = try session.makeModel(
        adapters: adapters, positionCount: prompt.count + configuration.maxNewTokens,
        arena: session.makeArena(byteCount: bytes))
      var decoder = StreamingDecoder(loaded.tokenizer)
      let isSilent = group.rank != 0
      if let title, !isSilent { Console.writeOutput("\(title):\n") }
      _ = try model.complete(
        prompts: [prompt], maximumNewTokens: configuration.maxNewTokens, endIDs: endIDs,
        didAppend: { _, id in
          let text = decoder.append(id)
          if !isSilent { Console.writeOutput(text) }
          return true
        })
      if !isSilent { Console.writeOutput(decoder.finish() + "\n") }
    }
    if configuration.compares || adapter == nil {
      try complete(nil, title: configuration.compares ? "base" : nil)
    }
    if let adapter {
      try complete(
        session.makeWeights(adapter.layout, adapter.values),
        title: configuration.compares ? "base+adapter" : nil)
    }
    return ExitCode.success
  }
}
