import Glibc
import Support
import TestSupport
import Testing

/// A temporary directory in which a test runs the program, removed with all that is in it.
final class Workplace: Sendable {
  let path: String

  /// Of the program; one for all tests, so that the demo is written once.
  static let cache = "/tmp/accelerate-swift-test-cache-\(getuid())/accelerate-swift"

  init() throws {
    path = "/tmp/accelerate-swift-test-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.makeDirectories(path)
  }

  deinit { try? FileSystem.remove(path) }

  func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

  /// Runs a command; with several ranks through `launch`.
  func run(
    ranks: Int = 1, _ arguments: [String], environment: [String: String?] = [:],
    fileLimit: Int? = nil, dataLimit: Int? = nil, terminalColumns: Int? = nil,
    whileRunning: (Int32) -> Void = { _ in }
  ) throws -> ProgramRun {
    var variables: [String: String?] = [
      "XDG_CACHE_HOME": FileSystem.parent(of: Self.cache), "ACCELERATE_THREADS": "1",
      "ACCELERATE_TERMINAL_COLUMNS": nil,
    ]
    for (name, value) in environment { variables[name] = value }
    return try ProgramRun(
      (ranks > 1 ? ["launch", "--nproc", "\(ranks)"] : []) + arguments, environment: variables,
      terminalColumns: terminalColumns, fileLimit: fileLimit, dataLimit: dataLimit,
      whileRunning: whileRunning)
  }

  /// Runs `body` with a disk of its own, of so many kilobytes; says so where none can be made.
  func withDisk(kilobytes: Int, _ body: (_ path: String) throws -> Void) throws {
    let disk = self("disk")
    try FileSystem.makeDirectories(disk)
    guard unsafe mount("tmpfs", disk, "tmpfs", 0, "size=\(kilobytes)k") == 0 else {
      print("SKIPPED: a full disk; no tmpfs can be mounted here: \(systemErrorText())")
      return
    }
    defer { unsafe umount2(disk, Int32(MNT_DETACH)) }
    try body(disk)
  }

  /// Writes a file of this directory.
  @discardableResult func write(_ name: String, _ text: String) throws -> String {
    try FileSystem.write(Array(text.utf8), to: self(name))
    return self(name)
  }

  /// All files below a directory with their bytes, to see that nothing was touched.
  static func contents(_ directory: String) throws -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    for name in try FileSystem.list(directory) {
      let path = "\(directory)/\(name)"
      if FileSystem.isDirectory(path) {
        for (inner, bytes) in try contents(path) { found["\(name)/\(inner)"] = bytes }
      } else {
        found[name] = try FileSystem.readBytes(path)
      }
    }
    return found
  }
}

/// What a run left behind.
struct RunResult {
  let metrics: [JSONValue]
  let adapter: [UInt8]

  init(_ output: String) throws {
    metrics = try FileSystem.readText("\(output)/metrics.jsonl").split(separator: "\n").map {
      try JSONParser.parse(String($0))
    }
    adapter = try FileSystem.readBytes("\(output)/adapter_model.safetensors")
  }

  var steps: [Int] { metrics.compactMap { $0["step"]?.intValue } }

  /// The numbers of every step as text; equal texts are equal bits.
  var numbers: [String] {
    metrics.map { record in
      ["loss", "router_loss", "gradient_norm", "learning_rate", "eval_loss"].map {
        record[$0]?.compactText ?? "-"
      }.joined(separator: " ")
    }
  }
}

/// Fails the test unless a run ended with this code and its errors hold all these words.
func expectError(
  _ run: ProgramRun, _ words: [String], code: Int32 = ExitCode.usage,
  location: SourceLocation = #_sourceLocation
) {
  #expect(run.exitCode == code, "\(run.errors)", sourceLocation: location)
  for word in words {
    #expect(
      run.errors.contains(word), "\"\(word)\" is not in: \(run.errors)", sourceLocation: location)
  }
  #expect(!run.errors.contains("Fatal error"), "\(run.errors)", sourceLocation: location)
}
