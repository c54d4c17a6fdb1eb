import Foundation
import Support
import TestSupport
import Testing

/// A really trained small model with its own tokenizer, on real text: data that are not part of the
/// project.
private enum RealData {
  static let root =
    (ProcessInfo.processInfo.environment["ACCELERATE_SHARED"] ?? "../shared") + "/data"
  static let isAvailable = FileSystem.exists("\(root)/weights/stories260k-mixtral/config.json")
  static let model = "\(root)/weights/stories260k-mixtral"
}

@Suite(
  .enabled(if: RealData.isAvailable, "no data at \(RealData.root); set ACCELERATE_SHARED"),
  .timeLimit(.minutes(5)))
struct RealModelTests {
  private let place: Workplace

  init() throws { place = try Workplace() }

  @Test func evaluationLossFallsAndTextStaysReadable() throws {
    let data = "\(RealData.root)/datasets/wikisql-mlx"
    let run = try place.run(
      ranks: 2,
      [
        "train", "--model", RealData.model, "--data", "\(data)/train.jsonl", "--eval-data",
        "\(data)/valid.jsonl", "--max-length", "512", "--overlength", "drop", "--max-steps", "20",
        "--eval-steps", "5", "--lr", "5e-4", "--warmup-steps", "2", "--output", place("run"),
      ])
    #expect(run.exitCode == 0, "\(run.errors)")
    let losses = try RunResult(place("run")).metrics.compactMap { $0["eval_loss"]?.doubleValue }
    try #require(losses.count == 4)
    for (earlier, later) in zip(losses, losses.dropFirst()) { #expect(later < earlier) }
    #expect(losses[3] < losses[0] - 0.5)

    // The base tells a story, with and without 4-bit weights; the adapter writes what it has seen.
    let story = try place.run([
      "generate", "--model", RealData.model, "--prompt", "Once upon a time", "--max-new-tokens",
      "50",
    ])
    #expect(story.output.contains("there was a little"))
    let query = try place.run([
      "generate", "--model", RealData.model, "--adapter", place("run"), "--prompt",
      #"table: 1-10015132-11\ncolumns: "#, "--max-new-tokens", "60",
    ])
    #expect(query.exitCode == 0)
    // Words of letters, not noise.
    let letters = query.output.unicodeScalars.count { $0.properties.isAlphabetic || $0 == " " }
    #expect(letters * 2 > query.output.unicodeScalars.count, "\(query.output)")
  }
}
