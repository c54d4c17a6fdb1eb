import Glibc
import Support
import TestSupport
import Testing

/// A temporary directory in which a test runs the program, removed with all that is in it.
final class Workplace: Sendable {
  let path: String

  init() throws {
    path = "/tmp/accelerate-swift-test-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.makeDirectories(path)
  }

  deinit { try? FileSystem.remove(path) }

  func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

  /// Runs a command; with several ranks through `launch`.
  func run(
    ranks: Int = 1, _ arguments: [String], environment: [String: String?] = [:],
    fileLimit: Int? = nil, terminalColumns: Int? = nil, whileRunning: (Int32) -> Void = { _ in }
  ) throws -> ProgramRun {
    // One cache for all tests, so that the demo is written once.
    var variables: [String: String?] = [
      "XDG_CACHE_HOME": "/tmp/accelerate-swift-test-cache-\(getuid())", "ACCELERATE_THREADS": "1",
      "ACCELERATE_TERMINAL_COLUMNS": nil,
    ]
    for (name, value) in environment { variables[name] = value }
    return try ProgramRun(
      (ranks > 1 ? ["launch", "--nproc", "\(ranks)"] : []) + arguments, environment: variables,
      terminalColumns: terminalColumns, fileLimit: fileLimit, whileRunning: whileRunning)
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
