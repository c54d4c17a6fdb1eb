import BackendChecks
import CUDAEmulation
import Compute
import ComputeCPU
import ComputeCUDA
import DistributedTraining
import Support
import Synchronization
import Testing
import Trainer

/// The very comparisons of `test --device cuda`, on the emulated device.
@Suite struct OperationTests {
  /// Every kernel of the catalog is run by them.
  @Test func allOperationsAgreeWithTheCPU() throws {
    let emulated = [EmulatedDevice(), EmulatedDevice()]
    for check in OperationCheck.all {
      let device = emulated[check.precision == .float32 ? 0 : 1]
      let result = try check.compare(
        CUDABackend(device: device, precision: check.precision),
        with: CPUBackend(threadCount: 1, precision: check.precision), seed: 7)
      // The emulated tensor cores keep all bits of a sum.
      let bound =
        if case .tensorCores = check.bound { OperationCheck.Bound.float32 } else { check.bound }
      #expect(
        result.difference <= bound.value, "\(check.name): \(result.difference) at \(result.place)")
    }
    let missing = KernelCatalog.kernels.keys.filter { name in
      !emulated.contains { $0.hasRun(name) }
    }
    // The products' own kernels add biases; a library needs another.
    #expect(missing == ["add_bias"])
  }

  /// A mistake in a kernel is told by the comparisons that use it, and named by `test`.
  @Test func aFaultIsFound() throws {
    let fault = cuda_emulation_fault(kind: cuda_emulation_skipped_barrier, number: 1)
    let check = try #require(OperationCheck.all.first { $0.name == "RMSNorm and its gradient" })
    let device = EmulatedDevice(fault: ("rms_norm", fault))
    let result = try check.compare(
      CUDABackend(device: device, precision: .float32), with: CPUBackend(threadCount: 1), seed: 9)
    #expect(result.difference > check.bound.value)
  }

  /// `test --device cuda` from end to end, times of operations at small sizes included.
  @Test func reportOfTheProgram() throws {
    let folder = "/tmp/accelerate-swift-operations-\(UInt64.random(in: 0 ... .max))"
    try FileSystem.makeDirectories(folder)
    defer { try? FileSystem.remove(folder) }
    let lines = Mutex("")
    let fault = cuda_emulation_fault(kind: cuda_emulation_divergent_barrier, number: 0)
    let names = ["RMSNorm and its gradient", "attention and its gradients, heads of 96, bf16"]
    let shapes = TimedShapes(
      name: "small", hidden: 64, intermediate: 128, heads: 2, keyValueHeads: 1, headWidth: 32,
      vocabulary: 50, experts: 4, expertsPerToken: 2)
    let code = try SelfTest(
      configuration: SelfTestConfiguration(device: .cuda, jsonPath: "\(folder)/report.json"),
      environment: ProgramEnvironment(cacheDirectory: folder), group: SoloGroup(),
      makeBackend: { options in
        try CUDABackend(
          device: EmulatedDevice(fault: ("rms_norm", fault)),
          precision: options.mixedPrecision == .bf16 ? .bfloat16 : .float32)
      },
      write: { text in lines.withLock { $0 += text } }
    ).run(
      SelfTestCheck.all(SelfTestConfiguration(device: .cuda)).filter { names.contains($0.name) })
    let text = lines.withLock { $0 }
    #expect(code == ExitCode.failure)
    #expect(text.contains("FAIL  RMSNorm and its gradient: rms_norm: "), "\(text)")
    #expect(
      text.contains("OK    attention and its gradients, heads of 96, bf16: 5 shapes"), "\(text)")

    // Times, by a device without the fault.
    let device = EmulatedDevice()
    let timed = try SelfTest(
      configuration: SelfTestConfiguration(device: .cuda, jsonPath: "\(folder)/report.json"),
      environment: ProgramEnvironment(cacheDirectory: folder), group: SoloGroup(),
      makeBackend: { _ in try CUDABackend(device: device, precision: .bfloat16) },
      write: { text in lines.withLock { $0 += text } }
    ).run([SelfTestCheck.operationSpeed([shapes], [24])])
    #expect(timed == ExitCode.success)
    let table = lines.withLock { $0 }
    for words in ["1000 GB/s", "small, 24 tokens", "linear, gate, 12 rows", "AdamW", "TFLOP/s"] {
      #expect(table.contains(words), "\(words) is not in \(table)")
    }
    let report = try FileSystem.readJSON("\(folder)/report.json")
    let check = try #require(report["checks"]?.arrayValue?.first)
    let timings = try #require(check["timings"]?.arrayValue)
    #expect(timings.count > 25 && timings.allSatisfy { $0["milliseconds"]?.doubleValue ?? 0 > 0 })
  }

  @Test func limitsFollowFromTheDevice() {
    // NVIDIA's figures of an A100 with 80 GB and of an H200: 2039 GB/s and 312 TFLOP/s, 4800 GB/s.
    let a100 = DeviceLimits(
      capability: 80, multiprocessors: 108, clock: 1_410_000, memoryClock: 1_593_000,
      busWidth: 5120)
    #expect(abs((a100.bytesPerSecond ?? 0) / 2039e9 - 1) < 0.001)
    #expect(abs((a100.operationsPerSecond ?? 0) / 312e12 - 1) < 0.001)
    let unknown = DeviceLimits(
      capability: 89, multiprocessors: 142, clock: 2_500_000, memoryClock: 0, busWidth: 0)
    #expect(unknown == DeviceLimits())
  }
}
