import Model
import Support
import Testing
import Trainer

@Suite struct ConfigurationTests {
  private func configuration(_ arguments: [String]) throws -> TrainConfiguration {
    guard case .options(let options) = try TrainConfiguration.parser.parse(arguments) else {
      throw UserError(.usage, "help")
    }
    return try TrainConfiguration(options)
  }

  private func configuration(_ line: String) throws -> TrainConfiguration {
    try configuration(line.split(separator: " ").map(String.init))
  }

  @Test func nothingGivenIsTheDemo() throws {
    let configuration = try configuration("")
    #expect(configuration.base.model == nil)
    #expect(configuration.samples.data.isEmpty)
    #expect(configuration.packing == .tokens(2048))
    #expect(configuration.learningRate == 2e-4)
    #expect(configuration.loraTargets == [.query, .key, .value, .output, .w1, .w2, .w3])
    #expect(configuration.loraScaling == 2)
    #expect(configuration.shuffles)
  }

  /// The demo warms up over 20 of its 400 steps; a shorter run of it needs no flag more.
  @Test(arguments: [([], 20), (["--max-steps", "3"], 0), (["--max-steps", "50"], 5)])
  func warmUpOfShortDemos(_ arguments: [String], _ steps: Int) throws {
    #expect(try TrainCommand.configuration(arguments)?.warmupSteps == steps)
  }

  @Test func settingsReachTheirFields() throws {
    let configuration = try configuration(
      "--model m --data d.jsonl --eval-data e.jsonl --samples-per-pack 3 --no-shuffle --rslora "
        + "--lora-r 64 --lora-alpha 16 --lora-targets up_proj,router,q --quant nf4 --double-quant "
        + "--mixed-precision bf16 --overlength truncate-prompt --router-aux-loss-coef 0.02")
    #expect(configuration.packing == .samples(3))
    #expect(configuration.loraTargets == [.query, .w3, .router])
    #expect(configuration.loraScaling == 2)
    #expect(configuration.base.quantization == .nf4)
    #expect(configuration.base.doubleQuantization)
    #expect(configuration.base.mixedPrecision == .bf16)
    #expect(configuration.samples.overlength == .truncatePrompt)
    #expect(configuration.routerLossCoefficient == 0.02)
    #expect(!configuration.shuffles)
  }

  @Test func packsGrowWithTheLongestSample() throws {
    #expect(try configuration("--max-length 4096").packing == .tokens(4096))
    #expect(try configuration("--max-length 512").packing == .tokens(2048))
  }

  @Test func templatesStayAsWritten() throws {
    let template = #"Q: {input}\nA:\t\\n \d"#
    let configuration = try configuration(["--prompt", template, "--completion", "{output}"])
    #expect(configuration.samples.prompt == template)
  }

  @Test func mistakesAreExplained() throws {
    var text = ""
    for line in [
      "--model m", "--data d.jsonl", "--samples-per-pack 2 --pack-tokens 4096",
      "--pack-tokens 1024", "--double-quant", "--quant-router", "--prompt {a}", "--completion {a}",
      "--eval-data e.jsonl", "--holdout 0.1", "--model m --data d --holdout 1.5",
      "--model m --data d --holdout x", "--model m --data d --holdout 5 --eval-data e",
      "--model m --data d:0", "--model m --data d:1001", "--model m --data d --eval-steps 5",
      "--resume",
      "--max-steps 10 --warmup-steps 11", "--lora-targets q,q_proj", "--lora-targets q,up_prj",
      "--lora-targets everything", "--lora-r 0", "--lora-dropout 1", "--quant int8", "--lr 0",
      "--epochs 1.5", "--learning-rate 1", "--sede 1",
    ] {
      let error = try #require(throws: UserError.self) { try configuration(line) }
      #expect(error.exitCode == ExitCode.usage)
      text += "$ train \(line)\nerror: \(error)\n\n"
    }
    try expectSnapshot(text, "train-errors.txt")
  }

  @Test func errorsNameTheFileOfASetting() throws {
    try withTemporaryDirectory { directory in
      try FileSystem.writeAtomically("seed: 1\nmodel: m\n", to: "\(directory)/run.yaml")
      let error = try #require(throws: UserError.self) {
        try configuration("--config \(directory)/run.yaml")
      }
      #expect(error.location == "\(directory)/run.yaml:2: model")
    }
  }

  @Test(arguments: [
    "", "--samples-per-pack 2 --max-steps 7 --seed 9223372036854775807 --threads 3",
    "--model m --data d.jsonl --data e:f.csv:2.5 --holdout 0.05 --no-cache --overlength split",
    "--model m --data d.jsonl --output runs/x --quant nf4 --double-quant --quant-router --lr 1e-7 "
      + "--lora-targets lm_head,v --rslora --router-aux-loss-coef 0 --no-shuffle --init-adapter a",
  ])
  func runFilesReadBack(_ line: String) throws {
    try withTemporaryDirectory { directory in
      var written = try configuration(line)
      written.samples.prompt = "two\nlines \\n: #\u{2028}"
      written.samples.completion = "true"
      try FileSystem.writeAtomically(written.yamlText, to: "\(directory)/run.yaml")
      var readBack = try configuration("--config \(directory)/run.yaml")
      // The file gives every setting.
      readBack.givenLoRAFlags = written.givenLoRAFlags
      #expect(readBack == written)
    }
  }

  @Test func runFilesHoldEverySetting() throws {
    let document = try YAMLDocument.parse(
      Array(try configuration("").yamlText.utf8), path: "run.yaml")
    let flags = TrainConfiguration.parser.groups.flatMap { $0.options.map(\.name) }
    #expect(
      Set(document.root.objectValue?.names ?? []) == Set(flags).subtracting(["config", "resume"]))
  }

  @Test func helpTextsAreAsReviewed() throws {
    try expectSnapshot(TrainConfiguration.parser.helpText(), "train-help.txt")
    try expectSnapshot(EvaluateConfiguration.parser.helpText(), "evaluate-help.txt")
    try expectSnapshot(GenerateConfiguration.parser.helpText(), "generate-help.txt")
    try expectSnapshot(DataConfiguration.parser.helpText(), "data-help.txt")
    try expectSnapshot(TokenizeConfiguration.parser.helpText(), "tokenize-help.txt")
    try expectSnapshot(SelfTestConfiguration.parser.helpText(), "test-help.txt")
    for parser in [
      TrainConfiguration.parser, EvaluateConfiguration.parser, GenerateConfiguration.parser,
      SelfTestConfiguration.parser, DataConfiguration.parser,
    ] {
      #expect(parser.helpText().split(separator: "\n").allSatisfy { $0.count <= 100 })
    }
  }

  @Test func evaluateAndGenerateCheckTheirSettings() throws {
    func evaluation(_ arguments: [String]) throws -> EvaluateConfiguration? {
      guard case .options(let options) = try EvaluateConfiguration.parser.parse(arguments) else {
        return nil
      }
      return try EvaluateConfiguration(options)
    }
    func generation(_ arguments: [String]) throws -> GenerateConfiguration? {
      guard case .options(let options) = try GenerateConfiguration.parser.parse(arguments) else {
        return nil
      }
      return try GenerateConfiguration(options)
    }
    #expect(try evaluation(["--limit", "5"])?.limit == 5)
    #expect(throws: UserError.self) { try evaluation(["--data", "d"]) }
    #expect(try generation(["--prompt", #"a\nb\\n\d\"#])?.prompt == "a\nb\\n\\d\\")
    #expect(throws: UserError.self) { try generation([]) }
    #expect(throws: UserError.self) { try generation(["--prompt", "a", "--compare"]) }
  }
}
