package import Support

/// Writes `metrics.jsonl`: one JSON object a step, in the file when ``append(_:)`` returns.
///
/// Records that could not be written are kept and written before the next, so that a disk that was
/// full for a while leaves no gap.
package struct MetricsWriter: ~Copyable {
  private let file: AppendFile
  private var pending = ""

  /// Opens the file of a run.
  ///
  /// - Parameters:
  ///   - path: usually `OUTPUT/metrics.jsonl`.
  ///   - checkpointStep: the step that the run goes on from, 0 for a new run; records of later
  ///     steps, which will be computed again, are dropped.
  /// - Throws: ``UserError``.
  package init(path: String, resumingAfter checkpointStep: Int) throws(UserError) {
    if FileSystem.exists(path) {
      try Self.dropRecords(after: checkpointStep, in: path)
    }
    file = try AppendFile(path: path)
  }

  package mutating func append(_ record: MetricsRecord) throws(UserError) {
    pending += record.json.compactText + "\n"
    try file.append(pending)
    pending = ""
  }

  /// Keeps the records up to a step; a crash leaves the old file or the new one.
  private static func dropRecords(after step: Int, in path: String) throws(UserError) {
    let text = try FileSystem.readText(path)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    var kept = ""
    for (position, line) in lines.enumerated() where !line.isEmpty {
      // A crash may have cut the last line short.
      let isWhole = position < lines.count - 1
      guard isWhole else { break }
      guard let recorded = (try? JSONParser.parse(String(line)))?["step"]?.intValue else {
        throw UserError(
          .badInput, at: "\(path):\(position + 1)", "not a record of a step",
          fix: "delete the line")
      }
      if recorded <= step { kept += line + "\n" }
    }
    if kept != text { try FileSystem.writeAtomically(kept, to: path) }
  }
}
