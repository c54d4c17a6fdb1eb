import Glibc
import Support
import Testing

/// Runs `body` with an empty directory that is removed afterwards.
func withTemporaryDirectory(_ body: (String) throws -> Void) throws {
  let directory = "/tmp/accelerate-swift-tests-\(UInt64.random(in: 0...UInt64.max))"
  try FileSystem.makeDirectories(directory)
  defer { try? FileSystem.remove(directory) }
  try body(directory)
}

/// Compares `text` with a reviewed file in `Snapshots`.
///
/// Run the tests with ACCELERATE_UPDATE_SNAPSHOTS=1 to write the files, then review the difference.
func expectSnapshot(
  _ text: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let path = FileSystem.parent(of: #filePath) + "/Snapshots/" + name
  if unsafe getenv("ACCELERATE_UPDATE_SNAPSHOTS") != nil {
    try FileSystem.writeAtomically(text, to: path)
    return
  }
  let reviewed = try FileSystem.readText(path)
  guard text != reviewed else { return }
  let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
  let reviewedLines = reviewed.split(separator: "\n", omittingEmptySubsequences: false)
  let first = zip(lines, reviewedLines).enumerated().first { $0.element.0 != $0.element.1 }
  let number = (first?.offset ?? min(lines.count, reviewedLines.count)) + 1
  Issue.record(
    """
    \(name):\(number) differs
      reviewed: \(first.map { String($0.element.1) } ?? "(\(reviewedLines.count) lines)")
      now:      \(first.map { String($0.element.0) } ?? "(\(lines.count) lines)")
    """, sourceLocation: sourceLocation)
}
