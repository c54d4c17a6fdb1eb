import ComputeCUDA
import Glibc
import Support
import TestSupport
import Testing

/// The whole program with `--device cuda`: driver and cuBLASLt are replaced by libraries that compute
/// on the CPU, so that runs are held against those with `--device cpu`.
@Suite(
  .serialized, .timeLimit(.minutes(10)),
  .enabled(if: FakeLibraries.areThere, FakeLibraries.needs))
struct EmulatedRunTests {
  private let folder = "/tmp/accelerate-swift-emulated-\(UInt64.random(in: 0 ... .max))"

  private struct Outcome {
    var losses: [Double]
    var files: [[UInt8]]
    var errors: String
  }

  private func train(ranks: Int, device: String, _ flags: [String]) throws -> Outcome {
    let output = "\(folder)/\(device)-\(ranks)-\(flags.joined())"
    defer { try? FileSystem.remove(folder) }
    let run = try ProgramRun(
      [
        "launch", "--nproc", "\(ranks)", "train", "--device", device, "--model",
        "synthetic:\(FakeRun.configuration("mixtral-experts"))", "--data", "synthetic:6x11",
        "--train-on", "all", "--max-length", "16", "--samples-per-pack", "1", "--packs-per-step",
        "3", "--max-steps", "2", "--save-steps", "0", "--lora-r", "4", "--quant", "nf4", "--output",
        output,
      ] + flags, environment: EmulatedGPU.environment())
    try #require(run.exitCode == 0, "\(run.errors)")
    let metrics = try FileSystem.readText("\(output)/metrics.jsonl")
    let steps = try metrics.split(separator: "\n").map { try JSONParser.parse(String($0)) }
    return Outcome(
      losses: steps.compactMap { $0["loss"]?.doubleValue },
      files: try ["adapter_model.safetensors", "adapter_config.json"].map {
        try FileSystem.readBytes("\(output)/\($0)")
      }, errors: run.errors)
  }

  @Test func lossesAreThoseOfTheCPU() throws {
    let device = try train(ranks: 1, device: "cuda", [])
    let cpu = try train(ranks: 1, device: "cpu", [])
    #expect(device.losses.count == 2)
    for (one, other) in zip(device.losses, cpu.losses) {
      #expect(abs(one - other) <= 1e-5 * other, "\(one) and \(other)")
    }
    #expect(device.errors.contains("peak memory of a GPU"))
  }

  /// Ranks are processes here, and the driver is the real one's code.
  @Test func ranksGiveTheSameBits() throws {
    let flags = ["--mixed-precision", "bf16"]
    let one = try train(ranks: 1, device: "cuda", flags)
    for (ranks, shard) in [(2, "full"), (3, "none")] {
      let several = try train(ranks: ranks, device: "cuda", flags + ["--shard", shard])
      #expect(several.losses == one.losses && several.files == one.files, "\(ranks) ranks")
    }
  }
}

/// The libraries of scripts/emulated-gpu.sh, made once for all tests.
enum EmulatedGPU {
  static let folder: Result<String, any Error> = Result {
    let path = "/tmp/accelerate-swift-gpu-\(UInt64.random(in: 0 ... .max))"
    var root = #filePath
    for _ in 0..<3 { root = FileSystem.parent(of: root) }
    let code = try FakeLibraries.run(["/bin/bash", "\(root)/scripts/emulated-gpu.sh", path])
    guard code == 0 else { throw UserError(.system, "scripts/emulated-gpu.sh ended with \(code)") }
    atexit { if case .success(let path) = EmulatedGPU.folder { try? FileSystem.remove(path) } }
    return path
  }

  /// Variables for a program that is to use them.
  static func environment() throws -> [String: String?] {
    let folder = try folder.get()
    return FakeLibraries.environment([
      CUDALibrary.driver.variable: "\(folder)/libcuda.so.1",
      CUDALibrary.cuBLASLt.variable: "\(folder)/libcublasLt.so.13",
    ])
  }
}
