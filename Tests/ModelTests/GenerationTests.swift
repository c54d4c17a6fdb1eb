import Compute
import Model
import TestSupport
import Testing

/// Texts continued with cached keys and values.
@Suite struct GenerationTests {
  /// Logits after each token of two texts that are fed in pieces.
  @Test(arguments: Fixture.names)
  func cachedLogitsAreThoseOfTheWholeText(_ name: String) throws {
    let tiny = try TinyModel(name)
    let V = tiny.configuration.vocabularySize
    var random = Random(21)
    let texts = TokenSample.random([14, 19], below: V, &random).map(\.tokens)
    let whole = try texts.map { try tiny.logits(PackInput([TokenSample(tokens: $0)])) }
    let cache = try KeyValueCache(
      tiny.configuration, textCount: 2, capacity: 19, backend: tiny.backend)
    // The first text pauses twice: once before its second piece, and at the end.
    let pieces = [(8, 3), (0, 9), (1, 1), (5, 0), (0, 6)]
    var done = [0, 0]
    for (first, second) in pieces {
      let counts = [first, second]
      let new = texts.indices.map { Array(texts[$0][done[$0]..<done[$0] + counts[$0]]) }
      let pass = try tiny.model.forward(
        PackInput(
          tokens: new[0] + new[1],
          positions: texts.indices.flatMap { Int32(done[$0])..<Int32(done[$0] + counts[$0]) },
          sampleIndices: [Int32](repeating: 0, count: first + second),
          boundaries: [0, first, first + second], targetRows: [], targets: []),
        retention: .nothing, cache: cache)
      let logits = try tiny.backend.download(
        tiny.model.logits(pass, rows: (0..<Int32(first + second)).map { $0 }))
      let expected = texts.indices.flatMap {
        whole[$0][done[$0] * V..<(done[$0] + counts[$0]) * V]
      }
      #expect(relativeError(logits, expected) <= 2e-6)
      for text in texts.indices { done[text] += counts[text] }
    }
    #expect(done == texts.map(\.count))
    #expect(cache.lengths == done)
  }

  @Test(arguments: Fixture.names)
  func completionsAreThoseOfRecomputation(_ name: String) throws {
    let tiny = try TinyModel(name)
    let V = tiny.configuration.vocabularySize
    var random = Random(22)
    let prompts = TokenSample.random([3, 9, 1], below: V, &random).map(\.tokens)
    func recomputed(_ prompt: [Int32], _ count: Int) throws -> [Int32] {
      var text = prompt
      for _ in 0..<count {
        let last = try tiny.logits(PackInput([TokenSample(tokens: text)])).suffix(V)
        let best = try #require(last.indices.max { last[$0] < last[$1] })
        text.append(Int32(best - last.startIndex))
      }
      return Array(text.dropFirst(prompt.count))
    }
    let expected = try prompts.map { try recomputed($0, 12) }
    let results = try tiny.model.complete(prompts: prompts, maximumNewTokens: 12, endIDs: [])
    #expect(results.map(\.ids) == expected)
    #expect(results.allSatisfy { !$0.hasEnded })

    // A token that ends the second text; the others may meet it later or never.
    let end = expected[1][4]
    let ended = try tiny.model.complete(prompts: prompts, maximumNewTokens: 12, endIDs: [end])
    for (result, ids) in zip(ended, expected) {
      let place = ids.firstIndex(of: end)
      #expect(result.ids == Array(ids[..<(place ?? ids.count)]))
      #expect(result.hasEnded == (place != nil))
    }
  }

  @Test(arguments: ["llama-tied-head", "mixtral-router-head"])
  func thePlanIsWhatAContinuationTakes(_ name: String) throws {
    let tiny = try TinyModel(name)
    let plan = try tiny.plan()
    let planned = try plan.generationByteCount(tokenCount: 20, textCount: 3)
    tiny.model.arena.reset()
    _ = try tiny.model.complete(
      prompts: [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13], [1, 2, 3, 4, 5, 6, 7]],
      maximumNewTokens: 5, endIDs: [])
    #expect(tiny.model.arena.highWaterMark <= planned)
    #expect(tiny.model.arena.highWaterMark > planned / 2)
  }
}
