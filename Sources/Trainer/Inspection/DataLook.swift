internal import Data
internal import Support

/// What `data` prints.
struct DataLook {
  let configuration: DataConfiguration
  let files: TokenizedFiles
  let statistics: DataStatistics

  init(_ configuration: DataConfiguration, _ files: TokenizedFiles) throws {
    self.configuration = configuration
    self.files = files
    statistics = try DataStatistics(files.sources)
  }

  /// All of it.
  func text(usesColour: Bool) throws -> String {
    var text = ""
    for source in files.sources {
      let origin = source.store.origin
      text +=
        "\(origin.path): \(origin.format), \(source.store.rowCount) rows of "
        + origin.columns.joined(separator: ", ") + "\n"
    }
    text += "rows: \(files.formatSummary)\n"
    text += "\n" + numbers + "\nlengths in tokens\n"
    text += LengthHistogram(statistics.lengths).text + "\n"
    text += try table() + "\n" + suggestion + "\n"
    if configuration.shownCount > 0 { text += "\n" + (try shown(usesColour)) }
    return text
  }

  private var numbers: String {
    let s = statistics
    func count(_ number: Int) -> String { NumberText.grouped(Double(number)) }
    let lines: [(String, String)] = [
      ("rows", count(s.rows)), ("tokens", count(s.tokens)),
      ("trained tokens", count(s.targetTokens)),
      ("duplicate rows", count(s.duplicates)), ("empty answers", count(s.emptyAnswers)),
      ("rows without a trained token", count(s.untrained)),
      ("rows without a trained end token", count(s.withoutEnd)),
      (
        "length",
        "median \(s.quantile(0.5)), 90 % \(s.quantile(0.9)), 99 % \(s.quantile(0.99)), longest "
          + "\(s.lengths.last ?? 0)"
      ),
    ]
    return lines.map { $0 + String(repeating: " ", count: 34 - $0.count) + $1 + "\n" }.joined()
  }

  /// Lengths to look at, ascending.
  private var candidates: [Int] {
    let longest = max(2, statistics.lengths.last ?? 2)
    var lengths: Set<Int> = []
    if let given = configuration.candidates {
      lengths.formUnion(given)
    } else {
      var power = 64
      while power < longest {
        if power >= statistics.quantile(0.25) { lengths.insert(power) }
        power *= 2
      }
      for part in [0.9, 0.99, 1] { lengths.insert(max(2, statistics.quantile(part))) }
    }
    if configuration.givesMaxLength { lengths.insert(configuration.samples.maxLength) }
    return lengths.sorted()
  }

  private func table() throws -> String {
    let losses = try statistics.losses(at: candidates)
    let ends = max(1, statistics.rows - statistics.withoutEnd)
    func share(_ part: Int, _ whole: Int) -> String {
      NumberText.fixed(100 * Double(part) / Double(max(1, whole)), digits: 2) + " %"
    }
    var rows = [["--max-length", "samples cut", "answer lost", "ends lost", "steps per epoch"]]
    for loss in losses {
      rows.append([
        "\(loss.maxLength)", share(loss.rows, statistics.rows),
        share(loss.targetTokens, statistics.targetTokens), share(loss.ends, ends),
        try steps(loss.maxLength),
      ])
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var text = rows.map { row in
      zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
        .joined(separator: "  ") + "\n"
    }.joined()
    text += "lost: were samples cut at their end. steps: "
    switch configuration.samples.overlength {
    case .error: text += "with long samples cut; --overlength error stops instead.\n"
    case let policy: text += "with --overlength \(policy.rawValue).\n"
    }
    return text
  }

  /// Steps of an epoch; a dash where a run would be refused.
  private func steps(_ maxLength: Int) throws -> String {
    var lengths: [Int]
    if configuration.samples.overlength == .error {
      lengths = statistics.lengths.map { min($0, maxLength) }
    } else {
      let policy = SampleBuilder.Overlength(rawValue: configuration.samples.overlength.rawValue)
      let builder = files.builder.with(maxLength: maxLength, overlength: policy ?? .error)
      guard let set = try? Dataset.make(files.sources, with: builder).training else { return "-" }
      lengths = set.samples.lengths
    }
    let filling: PackPlan.Filling =
      switch configuration.packing {
      case .samples(let count): .samplesPerPack(count)
      case .tokens(let count): .packTokens(max(count, maxLength))
      case nil: .packTokens(max(2048, maxLength))
      }
    let plan = try PackPlan(
      lengths: lengths,
      settings: PackPlan.Settings(
        filling: filling, packsPerStep: configuration.packsPerStep, shuffle: true, seed: 42))
    let full = plan.fillRate.map { " (\(NumberText.fixed(100 * $0, digits: 1)) % full)" } ?? ""
    return "\(plan.firstEpoch.steps)\(full)"
  }

  private var suggestion: String {
    let longest = max(2, statistics.lengths.last ?? 2)
    let most = max(2, statistics.quantile(0.995))
    // A few far longer samples would set the memory for all.
    guard longest > 4 * most else {
      return "suggested: --max-length \(longest), the longest sample, so that nothing is cut"
    }
    let count = statistics.lengths.count { $0 > most }
    return "suggested: --max-length \(most) --overlength drop, which leaves out the \(count) "
      + "longest of \(statistics.rows) rows; the longest, with \(longest) tokens, would need "
      + "\(longest / most) times as much room"
  }

  private func shown(_ usesColour: Bool) throws -> String {
    var text = ""
    for (path, line, sample) in try statistics.samples(configuration.shownCount) {
      text +=
        "-- \(path):\(line), \(sample.tokens.count) tokens, \(sample.targetTokens) trained"
        + (usesColour ? " (green)" : " (in \u{27E6} \u{27E7})") + "\n"
      if let tokenizer = files.tokenizer?.tokenizer {
        text += SampleView(tokenizer: tokenizer, usesColour: usesColour).text(sample) + "\n"
      } else {
        let ids = zip(sample.tokens, sample.labels).enumerated().map { index, pair in
          index > 0 && pair.1 != Sample.ignoredLabel ? "\u{27E6}\(pair.0)\u{27E7}" : "\(pair.0)"
        }
        text += ids.joined(separator: " ") + "\n"
      }
    }
    return text
  }
}
