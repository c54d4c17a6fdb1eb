import DistributedTraining
import Glibc
import Support
import TestSupport
import Testing

/// The whole program with `--device cuda`: driver and cuBLASLt are replaced by libraries that compute
/// on the CPU, so that runs are held against those with `--device cpu`.
@Suite(
  .serialized, .timeLimit(.minutes(10)),
  .enabled(
    if: FakeLibraries.folder != nil && FakeLibraries.nvrtcFolder != nil,
    "needs clang and NVRTC (scripts/fetch-nvrtc.sh)"))
struct EmulatedRunTests {
  private let folder = "/tmp/accelerate-swift-emulated-\(UInt64.random(in: 0 ... .max))"

  private struct Outcome {
    var losses: [Double]
    var files: [[UInt8]]
    var errors: String
  }

  private func train(ranks: Int, device: String, _ flags: [String]) throws -> Outcome {
    _ = try #require(EmulatedGPU.folder)
    let output = "\(folder)/\(device)-\(ranks)-\(flags.joined())"
    defer { try? FileSystem.remove(folder) }
    let run = try ProgramRun(
      [
        "launch", "--nproc", "\(ranks)", "train", "--device", device, "--model",
        "synthetic:\(FakeRun.configuration("mixtral-experts"))", "--data", "synthetic:6x11",
        "--train-on", "all", "--max-length", "16", "--samples-per-pack", "1", "--packs-per-step",
        "3", "--max-steps", "2", "--save-steps", "0", "--lora-r", "4", "--quant", "nf4", "--output",
        output,
      ] + flags, environment: EmulatedGPU.environment)
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
  /// Nil where they cannot be made.
  static let folder: String? = {
    let path = "/tmp/accelerate-swift-gpu-\(UInt64.random(in: 0 ... .max))"
    var root = #filePath
    for _ in 0..<3 { root = FileSystem.parent(of: root) }
    var environment = KernelFile.environment()
    environment["PATH"] = (environment["PATH"] ?? "/usr/bin:/bin") + ":/opt/swift/usr/bin"
    let command = ["/bin/bash", "\(root)/scripts/emulated-gpu.sh", path]
    let child = ChildProcess(program: command[0], arguments: command, environment: environment)
    guard let process = try? child.start() else { return nil }
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    guard status == 0 else { return nil }
    atexit { if let folder = EmulatedGPU.folder { try? FileSystem.remove(folder) } }
    return path
  }()

  static let environment: [String: String?] = [
    "ACCELERATE_CUDA_DRIVER_LIB": "\(folder ?? "")/libcuda.so.1",
    "ACCELERATE_CUBLASLT_LIB": "\(folder ?? "")/libcublasLt.so.13",
    "ACCELERATE_CUDA_LIB_DIR": FakeLibraries.nvrtcFolder ?? "", "ACCELERATE_NCCL_LIB": "none",
    "XDG_CACHE_HOME": folder ?? "", "ACCELERATE_THREADS": "1",
  ]
}
