/// The tokens of one row, and for each the label that belongs to it.
package struct Sample: Sendable, Equatable {
  /// The label of a token that is not learned.
  package static let ignoredLabel: Int32 = -100

  package var tokens: [Int32]
  /// `labels[i]` belongs to `tokens[i]`: what the model is to predict there. Nothing precedes
  /// position 0, so its label never counts.
  package var labels: [Int32]

  package init(tokens: [Int32], labels: [Int32]) {
    precondition(
      tokens.count == labels.count && !tokens.isEmpty,
      "\(tokens.count) tokens and \(labels.count) labels")
    self.tokens = tokens
    self.labels = labels
  }

  /// How many tokens have loss.
  package var targetTokens: Int { labels.dropFirst().count { $0 != Self.ignoredLabel } }
}
