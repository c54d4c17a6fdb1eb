internal import Data
internal import DistributedTraining
package import Support

/// `tokenize`: token ids of texts and texts of token ids, for comparison with other programs.
package enum TokenizeCommand {
  /// See ``TrainCommand/configuration(_:)``.
  package static func configuration(_ arguments: [String]) throws(UserError)
    -> TokenizeConfiguration?
  {
    try TokenizeConfiguration.parser.optionsOrHelp(arguments).map { TokenizeConfiguration($0) }
  }

  /// See ``TrainCommand/run(_:environment:)``.
  package static func run(_ arguments: [String], environment: ProgramEnvironment) throws -> Int32 {
    guard let configuration = try configuration(arguments) else { return ExitCode.success }
    let directory =
      try configuration.model
      ?? Demo.materialize(cacheDirectory: environment.cacheDirectory).model
    let tokenizer = try TokenizerFactory.load(directory: directory)
    let threads =
      configuration.threads > 0
      ? configuration.threads : CPUBudget.threadsPerRank(localWorldSize: 1)
    var input = StandardInput()
    var first = 1
    while let lines = try input.lines() {
      let start = first
      let outputs = try ParallelMap.values(count: lines.count, threads: threads) { index in
        Result { try answer(lines[index], tokenizer, configuration) }.mapError { error in
          guard var error = error as? UserError else { return error }
          error.location = "standard input:\(start + index)"
          return error
        }
      }
      // Lines before the one that is wrong are answered.
      var text = ""
      var failure: (any Error)?
      loop: for output in outputs {
        switch output {
        case .success(let line): text += line + "\n"
        case .failure(let error):
          failure = error
          break loop
        }
      }
      Console.writeOutput(text)
      if let failure { throw failure }
      first += lines.count
    }
    return ExitCode.success
  }

  private static func answer(
    _ line: [UInt8], _ loaded: LoadedTokenizer, _ configuration: TokenizeConfiguration
  ) throws -> String {
    let value: JSONValue
    do {
      value = try JSONParser.parse(line)
    } catch {
      throw UserError(
        .badInput, error.description,
        fix: configuration.decodes
          ? "write an array of ids a line, such as [1, 2]"
          : "write one JSON string a line, quotes included")
    }
    let tokenizer = loaded.tokenizer
    guard configuration.decodes else {
      guard let text = value.stringValue else {
        throw UserError(
          .badInput, "holds \(value.kindName), not a string",
          fix: "write one JSON string a line, or add --decode for arrays of ids")
      }
      var ids = try tokenizer.encode(text, isContinuation: false)
      if configuration.addsSpecialTokens { ids = loaded.prefixIDs + ids + loaded.suffixIDs }
      return "[" + ids.map { "\($0)" }.joined(separator: ",") + "]"
    }
    guard let array = value.arrayValue else {
      throw UserError(
        .badInput, "holds \(value.kindName), not an array of ids",
        fix: "write an array of ids a line, such as [1, 2]")
    }
    let ids = try array.map { element in
      guard let id = element.intValue, (0..<tokenizer.vocabularySize).contains(id) else {
        throw UserError(
          .badInput,
          "\(element.compactText.prefix(40)) is no token id from 0 to "
            + "\(tokenizer.vocabularySize - 1)")
      }
      return Int32(id)
    }
    let text = tokenizer.decode(ids, keepsSpecialTokens: configuration.addsSpecialTokens)
    return JSONValue.string(text).compactText
  }
}
