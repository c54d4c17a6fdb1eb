import DistributedTraining
import Glibc
import Support

/// The checkout that the tests were built from.
enum Repository {
  static let root = FileSystem.parent(
    of: FileSystem.parent(of: FileSystem.parent(of: #filePath)))

  /// Paths below the root of all files under `directory` with one of the endings.
  static func files(under directory: String, endings: [String]) throws -> [String] {
    let full = "\(root)/\(directory)"
    guard FileSystem.exists(full) else { return [] }
    guard FileSystem.isDirectory(full) else {
      return endings.contains(where: directory.hasSuffix) ? [directory] : []
    }
    return try FileSystem.list(full).flatMap {
      try files(under: "\(directory)/\($0)", endings: endings)
    }
  }

  static func text(_ path: String) throws -> String { try FileSystem.readText("\(root)/\(path)") }

  /// `swift package describe` in a build folder of its own: the usual one is locked while
  /// `swift test` runs.
  static func describePackage() throws -> JSONValue {
    let scratch = "/tmp/accelerate-swift-describe-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.makeDirectories(scratch)
    defer { try? FileSystem.remove(scratch) }
    let output = "\(scratch)/description.json"
    let arguments = [
      "/usr/bin/env", "timeout", "20", "swift", "package", "--package-path", root,
      "--scratch-path", "\(scratch)/build", "describe", "--type", "json",
    ]
    let descriptor = unsafe open(output, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw UserError(.system, at: output, systemErrorText()) }
    defer { close(descriptor) }
    var environment = KernelFile.environment()
    environment["PATH"] = (environment["PATH"] ?? "/usr/bin:/bin") + ":/opt/swift/usr/bin"
    var child = ChildProcess(
      program: arguments[0], arguments: arguments, environment: environment)
    child.descriptors = [(descriptor, 1)]
    let process = try child.start()
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    guard status == 0 else {
      throw UserError(.system, at: "swift package describe", "ended with status \(status)")
    }
    return try FileSystem.readJSON(output)
  }
}
