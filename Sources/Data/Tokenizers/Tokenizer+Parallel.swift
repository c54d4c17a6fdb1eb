internal import Support

extension Tokenizer {
  /// The ids of many texts, computed on several threads.
  ///
  /// - Parameters:
  ///   - texts: each stands for itself; the order is kept.
  ///   - threads: how many threads work; the ids do not depend on it.
  /// - Returns: the ids of each text, without tokens that begin or end a sequence.
  /// - Throws: the error of the first text that has one.
  package func encode(_ texts: [String], threads: Int) throws -> [[Int32]] {
    // Parts of several texts keep threads from meeting at every one.
    let size = max(1, min(64, texts.count / (8 * max(1, threads))))
    let partCount = (texts.count + size - 1) / size
    return try ParallelMap.values(count: partCount, threads: threads) { part in
      try texts[part * size..<min((part + 1) * size, texts.count)].map {
        try encode($0, isContinuation: false)
      }
    }.flatMap { $0 }
  }
}
