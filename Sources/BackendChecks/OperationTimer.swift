package import Compute

/// How fast one operation was.
package struct OperationTiming: Sendable {
  /// Of the model whose shapes were used.
  package var model: String
  package var tokens: Int
  package var name: String
  package var milliseconds: Double
  /// Floating point operations of products; zero where memory is all that counts.
  package var operationCount: Double
  /// Bytes that have to be read and written at least.
  package var byteCount: Double

  package var operationsPerSecond: Double { operationCount / milliseconds * 1000 }
  package var bytesPerSecond: Double { byteCount / milliseconds * 1000 }
}

/// Times the operations of a device at the shapes of a model.
package struct OperationTimer {
  /// A device and its clock.
  private let backend: any Backend
  private let milliseconds: (() throws -> Void) throws -> Double
  /// Rounds that count; one more warms up.
  private let rounds: Int
  /// Times that an operation is started in a round, so that the start itself does not count.
  private let repeats: Int

  /// - Parameters:
  ///   - backend: of the device.
  ///   - rounds: that count.
  ///   - repeats: of each operation in a round.
  ///   - milliseconds: how long the device works on what its argument starts.
  package init(
    _ backend: any Backend, rounds: Int = 5, repeats: Int = 4,
    milliseconds: @escaping (() throws -> Void) throws -> Double
  ) {
    self.backend = backend
    self.rounds = rounds
    self.repeats = repeats
    self.milliseconds = milliseconds
  }

  /// Times all operations, one after the other in each round, so that a change of the clock hits all
  /// of them.
  ///
  /// - Parameters:
  ///   - shapes: of a model.
  ///   - tokens: of a pack.
  /// - Returns: the median of the rounds for each operation.
  /// - Throws: what the device throws.
  package func timings(_ shapes: TimedShapes, tokens: Int) throws -> [OperationTiming] {
    let operations = try TimedOperation.all(shapes, tokens: tokens, backend)
    var times = [[Double]](repeating: [], count: operations.count)
    for round in 0...rounds {
      for (index, operation) in operations.enumerated() {
        let time = try milliseconds {
          for _ in 0..<repeats { try operation.run() }
        }
        if round > 0 { times[index].append(time / Double(repeats)) }
      }
    }
    return zip(operations, times).map { operation, times in
      OperationTiming(
        model: shapes.name, tokens: tokens, name: operation.name,
        milliseconds: times.sorted()[times.count / 2], operationCount: operation.operationCount,
        byteCount: operation.byteCount)
    }
  }
}

/// Sizes of a model.
package struct TimedShapes: Sendable {
  package var name: String
  package var hidden: Int
  package var intermediate: Int
  package var heads: Int
  package var keyValueHeads: Int
  package var headWidth: Int
  package var vocabulary: Int
  /// One of one for a model without experts.
  package var experts: Int
  package var expertsPerToken: Int
  package var loraRank = 16

  package init(
    name: String, hidden: Int, intermediate: Int, heads: Int, keyValueHeads: Int, headWidth: Int,
    vocabulary: Int, experts: Int = 1, expertsPerToken: Int = 1
  ) {
    self.name = name
    self.hidden = hidden
    self.intermediate = intermediate
    self.heads = heads
    self.keyValueHeads = keyValueHeads
    self.headWidth = headWidth
    self.vocabulary = vocabulary
    self.experts = experts
    self.expertsPerToken = expertsPerToken
  }

  package static let mixtral = TimedShapes(
    name: "Mixtral-8x7B", hidden: 4096, intermediate: 14336, heads: 32, keyValueHeads: 8,
    headWidth: 128, vocabulary: 32000, experts: 8, expertsPerToken: 2)
  package static let llama = TimedShapes(
    name: "Llama-2-7B", hidden: 4096, intermediate: 11008, heads: 32, keyValueHeads: 32,
    headWidth: 128, vocabulary: 32000)
}
