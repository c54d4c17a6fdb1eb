/// The samples of a dataset in file order.
package struct Dataset: Sendable {
  /// The numbers of a dataset as it is trained on.
  package struct Summary: Sendable, Equatable {
    /// Rows of the file, dropped ones included.
    package var rows = 0
    package var tokens = 0
    /// Tokens with loss.
    package var targetTokens = 0
    /// Tokens of the longest sample.
    package var longest = 0
    /// Rows left out because they are too long.
    package var dropped = 0
    /// Rows whose prompt was cut.
    package var truncated = 0

    package init() {}
  }

  package private(set) var samples: [Sample] = []
  /// The line of the file that each sample came from.
  package private(set) var lines: [Int] = []
  package internal(set) var summary = Summary()

  /// Tokens of each sample.
  package var lengths: [Int] { samples.map(\.tokens.count) }

  mutating func append(_ sample: Sample, line: Int) {
    samples.append(sample)
    lines.append(line)
    summary.tokens += sample.tokens.count
    summary.targetTokens += sample.targetTokens
    summary.longest = max(summary.longest, sample.tokens.count)
  }
}
