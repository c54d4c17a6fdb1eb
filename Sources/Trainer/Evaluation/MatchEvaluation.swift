internal import Data
internal import DistributedTraining
internal import Model

/// How many answers a model gives exactly, on any number of ranks.
struct MatchEvaluation {
  /// A prompt and the answer that is expected.
  struct Question: Sendable {
    var prompt: [Int32]
    var answer: String
  }

  /// Prompts that are continued side by side; fixed, so that results do not depend on ranks.
  static let batchSize = 32

  let questions: [Question]
  let tokenizer: any Tokenizer
  let endIDs: Set<Int32>
  let maximumNewTokens: Int
  /// Whether ranks must run the same passes, because they gather the base together.
  var isLockStep: Bool
  let group: any ProcessGroup

  private var batches: [Range<Int>] {
    stride(from: 0, to: questions.count, by: Self.batchSize).map {
      $0..<min(questions.count, $0 + Self.batchSize)
    }
  }

  /// Tokens and texts of the largest batch, for the memory plan.
  var largestBatch: (tokens: Int, texts: Int) {
    let tokens = batches.map { $0.reduce(0) { $0 + questions[$1].prompt.count } }.max() ?? 0
    return (tokens, min(questions.count, Self.batchSize))
  }

  /// The longest text that can come up.
  var longestText: Int { (questions.map(\.prompt.count).max() ?? 0) + maximumNewTokens }

  /// Answers every question; the whole answer must be equal, and end.
  ///
  /// - Parameters:
  ///   - model: base or base with adapter.
  ///   - progress: called with questions done and in all on this rank.
  /// - Returns: which questions were answered exactly, the same on every rank.
  /// - Throws: when a device or rank fails.
  func run(_ model: CausalLM, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws
    -> [Bool]
  {
    let batches = batches
    let runs = (0..<group.worldSize).map {
      PackRuns.run(ofRank: $0, packCount: batches.count, worldSize: group.worldSize)
    }
    func questionCount(_ run: Range<Int>) -> Int { run.reduce(0) { $0 + batches[$1].count } }
    var matches: [Double] = []
    for round in 0..<(runs.map(\.count).max() ?? 0) {
      let batch =
        round < runs[group.rank].count ? batches[runs[group.rank].lowerBound + round] : 0..<0
      let results = try model.complete(
        prompts: batch.map { questions[$0].prompt }, maximumNewTokens: maximumNewTokens,
        endIDs: endIDs, isAnyActive: isLockStep ? { try !group.allAgree(!$0) } : { $0 })
      for (question, result) in zip(batch, results) {
        let text = tokenizer.decodeContinuation(result.ids)
        matches.append(result.hasEnded && text == questions[question].answer ? 1 : 0)
      }
      progress(matches.count, questionCount(runs[group.rank]))
    }
    return try group.allGather(matches, counts: runs.map(questionCount)).map { $0 == 1 }
  }
}
