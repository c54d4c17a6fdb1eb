import Support
import TestSupport
import Testing

/// Any number of ranks and threads, and recomputation, give the same bits.
@Suite(.timeLimit(.minutes(5))) struct SameBitsTests {
  /// Five packs a step over 22 samples of two a pack: steps of 5, 5 and 1 packs, which divide by no
  /// number of ranks, with dropout over a doubly quantized mixture.
  static let mixture = [
    "--samples-per-pack", "2", "--packs-per-step", "5", "--epochs", "2", "--lora-r", "4",
    "--lora-dropout", "0.2", "--quant", "nf4", "--double-quant", "--lr", "0.01",
    "--weight-decay", "0.1", "--lora-targets", "all-linear,gate,lm_head",
  ]
  /// Best-fit packs of a dense model, three a step.
  static let dense = [
    "--pack-tokens", "64", "--max-length", "64", "--packs-per-step", "3", "--epochs", "2",
    "--lora-r", "4", "--lora-dropout", "0.1", "--lr", "0.01", "--lr-scheduler", "cosine",
    "--warmup-steps", "2",
  ]

  @Test(arguments: [true, false])
  func ranksThreadsAndRecomputation(_ isMixture: Bool) throws {
    let place = try Workplace()
    let tiny = TinyModel(isMixture: isMixture)
    let model = try tiny.write(place("model"))
    let data = try place.write("rows.jsonl", tiny.rows(22))
    let heldOut = try place.write("held.jsonl", tiny.rows(9, seed: 3))
    func train(_ name: String, ranks: Int, _ extra: [String]) throws -> RunResult {
      let run = try place.run(
        ranks: ranks,
        [
          "train", "--model", model, "--data", data, "--eval-data", heldOut, "--eval-steps", "2",
          "--output", place(name),
        ] + (isMixture ? Self.mixture : Self.dense) + extra)
      #expect(run.exitCode == 0, "\(run.errors)")
      return try RunResult(place(name))
    }
    let one = try train("one", ranks: 1, ["--threads", "1"])
    #expect(one.steps.count >= 4)
    #expect(Set(one.numbers).count == one.numbers.count)
    let variants: [(name: String, ranks: Int, flags: [String])] = [
      ("threads", 1, ["--threads", "2"]),
      ("recomputed", 1, ["--gradient-checkpointing", "on"]),
      ("two", 2, ["--gradient-checkpointing", "off"]),
      ("three", 3, ["--threads", "2"]),
      ("four", 4, ["--gradient-checkpointing", "on"]),
    ]
    for variant in variants {
      let other = try train(variant.name, ranks: variant.ranks, variant.flags)
      #expect(other.numbers == one.numbers, "\(variant.name)")
      #expect(other.adapter == one.adapter, "\(variant.name)")
    }
    // The comparison can fail.
    let another = try train("another", ranks: 1, ["--seed", "43"])
    #expect(another.adapter != one.adapter)
  }

  @Test func moreRanksThanPacks() throws {
    let place = try Workplace()
    let tiny = TinyModel(isMixture: true)
    let arguments = [
      "train", "--model", try tiny.write(place("model")), "--data",
      try place.write("rows.jsonl", tiny.rows(12)), "--samples-per-pack", "3",
      "--packs-per-step", "2", "--lora-r", "2", "--lr", "0.01", "--lora-dropout", "0.1",
    ]
    let one = try place.run(arguments + ["--output", place("one")])
    #expect(one.exitCode == 0, "\(one.errors)")
    #expect(!one.errors.contains("warning"))
    let four = try place.run(ranks: 4, arguments + ["--output", place("four")])
    #expect(four.exitCode == 0, "\(four.errors)")
    #expect(
      four.errors.contains(
        "warning: 4 ranks, but a step has 2 packs; 2 ranks idle\n"
          + "  fix: --packs-per-step 4, or fewer ranks"))
    let (first, second) = (try RunResult(place("one")), try RunResult(place("four")))
    #expect(first.steps == [1, 2])
    #expect(first.numbers == second.numbers)
    #expect(first.adapter == second.adapter)
  }
}
