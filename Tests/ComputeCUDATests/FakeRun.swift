import Compute
import ComputeCUDA
import Support
import TestSupport

/// Runs of the program over NVIDIA's libraries without a GPU, in a folder that is removed at the end.
/// Kernels do nothing there; products are computed.
final class FakeRun {
  let path = "/tmp/accelerate-swift-fake-\(UInt64.random(in: 0 ... .max))"
  /// Compiles the kernels into the cache, once, by a command that nobody watches over: on a busy machine
  /// one file may take longer than a rank may stand still.
  private static let areKernelsCompiled: Bool = {
    let run = try? ProgramRun(
      ["plan", "--device", "cuda", "--model", configuration("llama-tied-head")],
      environment: FakeLibraries.environment())
    return run?.exitCode == 0
  }()

  init() throws {
    guard Self.areKernelsCompiled else { throw UserError(.system, "the kernels do not compile") }
    try FileSystem.makeDirectories(path)
  }
  deinit { try? FileSystem.remove(path) }

  func train(
    model: String = "llama-tied-head", ranks: Int = 2, _ flags: [String] = [],
    _ changes: [String: String] = [:]
  ) throws -> ProgramRun {
    var variables = [
      CUDALibrary.cuBLASLt.variable: FakeLibraries.cuBLASLt, "FAKE_LT_LOG": "\(path)/log",
      "FAKE_PEAK": "\(path)/peak",
    ]
    variables.merge(changes) { $1 }
    return try ProgramRun(
      [
        "launch", "--nproc", "\(ranks)", "train", "--device", "cuda", "--model",
        "synthetic:\(Self.configuration(model))", "--train-on", "all", "--packs-per-step", "4",
        "--lora-r", "4", "--output", "\(path)/run",
      ] + flags, environment: FakeLibraries.environment(variables))
  }

  /// The `config.json` of a model of the fixtures.
  static func configuration(_ model: String) -> String {
    let tests = FileSystem.parent(of: FileSystem.parent(of: #filePath))
    return "\(tests)/Fixtures/models/\(model)/config.json"
  }

  /// Lines that each process left in files of this name, which are removed.
  private func takeFiles(_ name: String) throws -> [[String]] {
    try FileSystem.list(path).filter { $0.hasPrefix("\(name).") }.map { name in
      let lines = try FileSystem.readText("\(path)/\(name)").split(separator: "\n")
      try FileSystem.remove("\(path)/\(name)")
      return lines.map(String.init)
    }
  }

  /// Algorithms that each process used since this was asked last.
  func takeLogs() throws -> [Set<String>] { try takeFiles("log").map { Set($0) } }

  /// The most memory of the GPU that each process had.
  func takePeaks() throws -> [Int] {
    try takeFiles("peak").compactMap { $0.first.flatMap { Int($0) } }
  }

  func choices(_ folder: String = "") throws -> (choices: ProductChoices, text: String) {
    let file = "\(path)/run/\(folder)products.json"
    let text = try FileSystem.readText(file)
    return (try ProductChoices(Array(text.utf8), at: file), text)
  }
}
