import Compute
import ComputeCPU
import Model
import Support
import TestSupport
import Testing
import Trainer

/// `evaluate` and `generate`, with the embedded demo and with models of the tests.
@Suite(.timeLimit(.minutes(5))) struct EvaluateTests {
  private let place: Workplace

  init() throws { place = try Workplace() }

  /// The loss column of a table: `loss: base X  base+adapter Y`.
  private func losses(_ run: ProgramRun) throws -> [String] {
    let line = try #require(run.outputLines.first { $0.hasPrefix("loss: base ") })
    return line.dropFirst("loss: base ".count).replacing("  base+adapter ", with: " ")
      .split(separator: " ").map(String.init)
  }

  @Test(arguments: [true, false])
  func theTableIsTheSameOnAnyNumberOfRanks(_ isMixture: Bool) throws {
    let tiny = TinyModel(isMixture: isMixture)
    let model = try tiny.write(place("model"))
    let heldOut = try place.write("held.jsonl", tiny.rows(30))
    let trained = try place.run([
      "train", "--model", model, "--data", try place.write("rows.jsonl", tiny.rows(40)),
      "--eval-data", heldOut, "--max-length", "25", "--pack-tokens", "40", "--packs-per-step", "3",
      "--epochs", "6", "--lr", "0.02", "--quant", "nf4", "--output", place("run"),
    ])
    #expect(trained.exitCode == 0, "\(trained.errors)")
    let last = try #require(try RunResult(place("run")).metrics.last?["eval_loss"]?.doubleValue)

    func evaluate(_ ranks: Int, _ extra: [String]) throws -> ProgramRun {
      let run = try place.run(
        ranks: ranks,
        ["evaluate", "--model", model, "--data", heldOut, "--quant", "nf4"] + extra)
      #expect(run.exitCode == 0, "\(run.errors)")
      return run
    }
    let adapter = ["--adapter", place("run")]
    let one = try evaluate(1, adapter)
    let column = try losses(one)
    try #require(column.count == 2)
    // What was saved and read back is what was evaluated at the end of the training.
    #expect(abs(try #require(Double(column[1])) - last) <= 0.5001e-4)
    #expect(try #require(Double(column[1])) < Double(column[0])! - 0.1)
    #expect(one.output.contains("\nperplexity: base "))
    for ranks in [2, 3, 4] { #expect(try evaluate(ranks, adapter).output == one.output) }
    #expect(try evaluate(1, adapter + ["--threads", "2"]).output == one.output)
    let bare = try evaluate(1, [])
    #expect(try losses(bare) == [column[0]])
    #expect(!bare.output.contains("base+adapter"))
    let few = try evaluate(2, adapter + ["--limit", "4"])
    #expect(try losses(few) != column)
  }

  /// The demo's model, tokenizer and sentences: loss, and answers that are compared as texts.
  @Test func theDemo() throws {
    let warm = try place.run(["generate", "--prompt", #"I want a racing game.\n"#])
    #expect(warm.exitCode == 0, "\(warm.errors)")
    let run = try place.run(
      ranks: 2,
      [
        "train", "--max-steps", "3", "--packs-per-step", "4", "--warmup-steps", "1", "--data",
        Self.demo("data/train.jsonl"), "--model", Self.demo("model"), "--prompt", #"{input}\n"#,
        "--completion", "{output}", "--quant", "nf4", "--output", place("run"), "--lr", "0.005",
        "--samples-per-pack", "4",
      ])
    #expect(run.exitCode == 0, "\(run.errors)")
    // The tokenizer's files stand beside the adapter.
    #expect(FileSystem.exists(place("run/tokenizer.model")))
    func evaluate(_ ranks: Int) throws -> ProgramRun {
      try place.run(
        ranks: ranks,
        ["evaluate", "--adapter", place("run"), "--limit", "40", "--max-new-tokens", "12"])
    }
    let one = try evaluate(1)
    #expect(one.exitCode == 0, "\(one.errors)")
    #expect(
      one.outputLines.map { $0.prefix { $0 != ":" } } == ["loss", "perplexity", "exact match"])
    #expect(try evaluate(3).output == one.output)
    let numbers = try losses(one).compactMap(Double.init)
    #expect(numbers.count == 2 && numbers[1] < numbers[0])
  }

  private static func demo(_ name: String) -> String { Workplace.cache + "/demo/\(name)" }

  @Test func generation() throws {
    let prompt = #"I am looking for a survival game.\n"#
    let one = try place.run(["generate", "--prompt", prompt, "--max-new-tokens", "60"])
    #expect(one.exitCode == 0, "\(one.errors)")
    #expect(one.output.utf8.count > 15)
    // The text comes in parts, not all at once at the end.
    #expect(one.outputPartCount > 1)
    let two = try place.run(ranks: 2, ["generate", "--prompt", prompt, "--max-new-tokens", "60"])
    #expect(two.output == one.output, "\(two.errors)")
    let short = try place.run(["generate", "--prompt", prompt, "--max-new-tokens", "5"])
    #expect(one.output.hasPrefix(short.output.trimmingNewline))
    expectError(try place.run(["generate"]), ["error: --prompt: missing", "fix: "])
    expectError(
      try place.run(["generate", "--prompt", "a", "--compare"]), ["--adapter is missing"])
    let tiny = try TinyModel().write(place("tiny"))
    expectError(
      try place.run(["generate", "--prompt", "a", "--model", tiny]), ["\(tiny)", "tokenizer"])
  }

  /// Continuing with kept keys and values is the same as computing the whole text anew.
  @Test(arguments: [true, false], [false, true])
  func theCacheChangesNothing(_ isMixture: Bool, _ isNF4: Bool) throws {
    let tiny = TinyModel(isMixture: isMixture, seed: 5)
    let backend = CPUBackend(threadCount: 1)
    let base = try LoadedBase.load(
      directory: try tiny.write(place("model")),
      quantization: QuantizationSettings(isNF4: isNF4), backend: backend)
    let bytes = try ActivationPlan(
      base.configuration, layouts: base.layouts, adapters: nil,
      activationType: backend.activationType
    ).generationByteCount(tokenCount: 80, textCount: 3)
    let model = try CausalLM(
      configuration: base.configuration, layouts: base.layouts, stream: base.stream,
      adapters: nil, positionCount: 64,
      arena: Arena(storage: try backend.makeStorage(byteCount: bytes), name: "activations"),
      backend: backend)
    let prompts: [[Int32]] = [[5, 9, 13], [7], [40, 41, 42, 43, 44, 45, 46, 47, 48]]
    let together = try model.complete(prompts: prompts, maximumNewTokens: 20, endIDs: [])
    for (prompt, result) in zip(prompts, together) {
      var text = prompt
      for _ in 0..<20 {
        text += try model.complete(prompts: [text], maximumNewTokens: 1, endIDs: [])[0].ids
      }
      #expect(result.ids == Array(text.dropFirst(prompt.count)))
      #expect(Set(result.ids).count > 1)
    }
  }
}

extension String {
  /// Without the newline at its end.
  fileprivate var trimmingNewline: String { hasSuffix("\n") ? String(dropLast()) : self }
}
