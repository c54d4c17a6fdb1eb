import Compute
import DistributedTraining
import Model
import Support
import TestSupport
import Testing

/// What moves between ranks in a step: slices of gradients and weights, and scalars.
@Suite(.timeLimit(.minutes(5))) struct TrafficTests {
  /// Bytes of gradient and weight slices that all ranks together send in a step.
  ///
  /// A rank sends each of its partial sums in slices to the others, all to all; then each slice of
  /// the new weights passes from rank to rank, N - 1 times.
  private func vectorBytes(elements: Int, packs: Int, ranks: Int) -> Int {
    let sums = (0..<ranks).map {
      PackTree.nodes(covering: PackRuns.run(ofRank: $0, packCount: packs, worldSize: ranks)).count
    }
    let slices = WeightSlices(parts: [0..<elements], worldSize: ranks)
    let gradients = (0..<ranks).reduce(0) {
      $0 + sums[$1] * (elements - slices.count(ofRank: $1))
    }
    return 4 * (gradients + (ranks - 1) * elements)
  }

  @Test(arguments: [2, 3, 4])
  func slicesAndScalarsAlone(_ ranks: Int) throws {
    let place = try Workplace()
    let small = TinyModel()
    var large = TinyModel()
    // The adapters of q, k, v and o have the same size, the base is five times as large.
    large.intermediate = 768
    large.vocabulary = 256
    let data = try place.write("rows.jsonl", small.rows(28))
    func bytesSent(_ tiny: TinyModel, _ name: String, _ extra: [String]) throws -> [Int] {
      let run = try place.run(
        ranks: ranks,
        [
          "train", "--model", try tiny.write(place("\(name)-model")), "--data", data,
          "--samples-per-pack", "2", "--packs-per-step", "5", "--lora-targets", "q,k,v,o",
          "--lora-r", "8", "--save-steps", "1", "--output", place(name),
        ] + extra)
      #expect(run.exitCode == 0, "\(run.errors)")
      return try RunResult(place(name)).metrics.compactMap { $0["bytes_sent"]?.intValue }
    }
    let measured = try bytesSent(small, "small", [])
    let adapter = try SafetensorsFile(path: place("small/adapter_model.safetensors"))
    let elements = adapter.entries.values.reduce(0) { $0 + $1.elementCount }
    try #require(measured.count == 3)
    for (packs, bytes) in zip([5, 5, 4], measured) {
      let scalars = bytes - vectorBytes(elements: elements, packs: packs, ranks: ranks)
      // Losses and router losses of the packs, and the sums of squares of the gradient's blocks:
      // from each rank as many as the first has.
      let blocks = WeightSlices(parts: [0..<elements], worldSize: ranks).blockCount(ofRank: 0)
      let run = PackRuns.run(ofRank: 0, packCount: packs, worldSize: ranks).count
      #expect(scalars == 8 * ranks * (ranks - 1) * (2 * run + blocks))
      #expect(scalars > 0 && scalars < 64_000)
    }
    #expect(try bytesSent(large, "large", []) == measured)
    #expect(try bytesSent(large, "nf4", ["--quant", "nf4"]) == measured)
    // Recomputation and evaluation move nothing in the step.
    #expect(
      try bytesSent(small, "more", ["--gradient-checkpointing", "on", "--eval-data", data])
        == measured)
  }
}
