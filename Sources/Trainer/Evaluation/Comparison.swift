internal import Data
internal import Glibc
internal import Model

/// Base against base with adapter on held-out rows.
struct Comparison {
  struct Column {
    var loss: Double
    /// Nil where no answers were generated.
    var matches: [Bool]?

    var matchShare: Double? {
      matches.map { $0.isEmpty ? 0 : Double($0.count { $0 }) / Double($0.count) }
    }
  }

  var base: Column
  /// Nil without adapter.
  var adapted: Column?

  /// Evaluates both models, one after the other.
  ///
  /// - Parameters:
  ///   - base: without adapter.
  ///   - adapted: with it, or nil.
  ///   - evaluation: for the loss.
  ///   - questions: for the exact match, or nil.
  ///   - reporter: shows progress.
  /// - Returns: the numbers, the same on every rank.
  /// - Throws: when a device or rank fails.
  static func run(
    base: CausalLM, adapted: CausalLM?, evaluation: LossEvaluation, questions: MatchEvaluation?,
    reporter: Reporter
  ) throws -> Comparison {
    func column(_ label: String, _ model: CausalLM) throws -> Column {
      let loss = try evaluation.run(model)
      guard let questions else { return Column(loss: loss) }
      var bar = reporter.bar(label, total: questions.questions.count, every: 1 << 30)
      let matches = try questions.run(model) { done, total in
        // Rank 0's part stands for all.
        bar.update(
          ProgressBar.Status(step: done * questions.questions.count / max(total, 1)))
      }
      bar.finish()
      return Column(loss: loss, matches: matches)
    }
    return Comparison(
      base: try column("answers of the base", base),
      adapted: try adapted.map { try column("answers of base+adapter", $0) })
  }

  /// The table for the user; its last line reads `exact match: base X %  base+adapter Y %`.
  var table: String {
    func row(_ name: String, _ text: (Column) -> String) -> String {
      var line = "\(name): base \(text(base))"
      if let adapted { line += "  base+adapter \(text(adapted))" }
      return line + "\n"
    }
    var lines = row("loss") { NumberText.fixed($0.loss, digits: 4) }
    lines += row("perplexity") { NumberText.fixed(exp($0.loss), digits: 3) }
    if base.matches != nil {
      lines += row("exact match") { "\(NumberText.fixed(($0.matchShare ?? 0) * 100, digits: 1)) %" }
    }
    return lines
  }
}
