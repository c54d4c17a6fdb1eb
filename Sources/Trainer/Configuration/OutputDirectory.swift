package import Support

/// The directory of a run: its name when none is given, and what it may hold before the start.
package enum OutputDirectory {
  /// Makes the first of `runs/NAME-1`, `runs/NAME-2`, ... that does not exist; runs that start at
  /// the same time get one each.
  ///
  /// - Parameters:
  ///   - name: usually ``baseName(of:)``.
  ///   - parent: the directory above.
  /// - Returns: the path.
  /// - Throws: ``UserError`` when it cannot be made.
  package static func makeFirstFree(name: String, under parent: String = "runs") throws(UserError)
    -> String
  {
    try FileSystem.makeDirectories(parent)
    var number = 1
    while try !FileSystem.makeNewDirectory("\(parent)/\(name)-\(number)") { number += 1 }
    return "\(parent)/\(name)-\(number)"
  }

  /// The name of a run after its data: the file's name without its ending, or `demo`.
  package static func baseName(of configuration: TrainConfiguration) -> String {
    guard let data = configuration.samples.data.first else { return "demo" }
    guard let file = data.file else { return "synthetic" }
    var stem = FileSystem.name(of: file)
    if stem.hasSuffix(".gz") { stem.removeLast(3) }
    if let point = stem.lastIndex(of: ".") { stem = String(stem[..<point]) }
    return stem.isEmpty ? "run" : stem
  }

  /// Refuses a directory that holds a run already, unless that run is to go on.
  package static func check(_ path: String, resumes: Bool) throws(UserError) {
    guard !resumes, FileSystem.exists(path) else { return }
    guard FileSystem.isDirectory(path) else {
      throw UserError(
        .usage, at: "--output", "\(path) is a file, but a directory is needed",
        fix: "give another --output")
    }
    let held = try FileSystem.list(path).first {
      $0 == "metrics.jsonl" || $0.hasPrefix("adapter_") || checkpointStep($0) != nil
    }
    guard let held else { return }
    throw UserError(
      .usage, at: "--output", "\(path) holds a run already (\(held)); runs are never overwritten",
      fix: "add --resume to continue it, or give another --output")
  }

  /// The newest checkpoint of a run, by its step.
  package static func newestCheckpoint(in path: String) throws(UserError) -> (
    path: String, step: Int
  )? {
    guard FileSystem.isDirectory(path) else { return nil }
    let steps = try FileSystem.list(path).compactMap(checkpointStep)
    return steps.max().map { ("\(path)/checkpoint-\($0)", $0) }
  }

  /// Removes what a run that was killed in the middle of a save left half written.
  static func removeLeftovers(in path: String) throws(UserError) {
    for name in try FileSystem.list(path) {
      let isCheckpoint = name.hasPrefix(".checkpoint-") && name.hasSuffix(".tmp")
      // The names of FileSystem.writeAtomically.
      let parts = name.split(separator: ".", omittingEmptySubsequences: false)
      let isFile =
        parts.count > 2 && parts[parts.count - 2] == "tmp" && Int(parts.last ?? "") != nil
      if isCheckpoint || isFile { try FileSystem.remove("\(path)/\(name)") }
    }
  }

  /// 120 for `checkpoint-120`; nil for every other name, temporary ones included.
  static func checkpointStep(_ name: String) -> Int? {
    let prefix = "checkpoint-"
    guard name.hasPrefix(prefix), let step = Int(name.dropFirst(prefix.count)), step >= 0,
      name == "\(prefix)\(step)"
    else { return nil }
    return step
  }
}
