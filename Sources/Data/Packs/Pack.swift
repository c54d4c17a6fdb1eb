/// The unit of work: whole samples laid end to end, without padding.
package struct Pack: Sendable, Equatable {
  /// Marks a token that has no target.
  package static let noTarget: Int32 = -1

  package private(set) var tokens: [Int32] = []
  /// `targets[i]` is the label of the token after `tokens[i]` in the same sample, or
  /// ``noTarget`` where that label is ignored or no such token exists.
  package private(set) var targets: [Int32] = []
  /// The position of each token in its sample, from 0.
  package private(set) var positions: [Int32] = []
  /// The index in the dataset of each token's sample.
  package private(set) var sampleIndices: [Int32] = []
  /// Where each sample begins, and at last the number of tokens.
  package private(set) var cumulativeLengths: [Int32] = [0]
  /// How many tokens have a target.
  package private(set) var targetTokens = 0

  package var tokenCount: Int { tokens.count }
  package var sampleCount: Int { cumulativeLengths.count - 1 }

  /// Lays samples end to end.
  ///
  /// - Parameters:
  ///   - indices: which samples, in order.
  ///   - samples: the samples of the dataset.
  package init(_ indices: [Int], of samples: [Sample]) {
    self.init(indices, indices.map { samples[$0] })
  }

  /// Lays samples end to end that are read now.
  ///
  /// - Parameters:
  ///   - indices: which samples, in order.
  ///   - samples: the samples of the dataset.
  /// - Throws: `UserError` when they cannot be read.
  package init(_ indices: [Int], of samples: SampleList) throws {
    self.init(indices, try indices.map { try samples.sample($0) })
  }

  private init(_ indices: [Int], _ samples: [Sample]) {
    let count = samples.reduce(0) { $0 + $1.tokens.count }
    tokens.reserveCapacity(count)
    targets.reserveCapacity(count)
    positions.reserveCapacity(count)
    sampleIndices.reserveCapacity(count)
    for (index, sample) in zip(indices, samples) {
      tokens += sample.tokens
      for label in sample.labels.dropFirst() {
        targets.append(label == Sample.ignoredLabel ? Self.noTarget : label)
      }
      targets.append(Self.noTarget)
      positions += 0..<Int32(sample.tokens.count)
      sampleIndices += repeatElement(Int32(index), count: sample.tokens.count)
      cumulativeLengths.append(Int32(tokens.count))
      targetTokens += sample.targetTokens
    }
  }
}
