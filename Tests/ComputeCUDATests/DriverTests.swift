import BackendChecks
import CUDAEmulation
import Compute
import ComputeCPU
import ComputeCUDA
import DistributedTraining
import Glibc
import Support
import Synchronization
import TestSupport
import Testing

/// Tests that share the fake libraries of this process, and count what these hold.
@Suite(.serialized) enum FakeLibraryTests {}

extension FakeLibraryTests {
  /// The driver's code path over a driver without a GPU, and what the program says of drivers and
  /// compilers that cannot be used.
  @Suite struct DriverTests {
    private static let folder = FakeLibraries.folder
    private static let nvrtcFolder = FakeLibraries.nvrtcFolder

    private static func environment(_ changes: [String: String] = [:]) -> [String: String?] {
      FakeLibraries.environment(changes)
    }

    /// What the program says when it takes the GPU for a command, and fails.
    private func errors(_ changes: [String: String]) throws -> String {
      let run = try ProgramRun(
        ["generate", "--device", "cuda", "--prompt", "x"], environment: Self.environment(changes))
      #expect(run.exitCode == ExitCode.failure, "\(run.errors)")
      return run.errors
    }

    // MARK: The code path

    /// Allocation, copies, launches with their arguments, shared memory and events: the operations of
    /// the program on ``DriverDevice``, whose kernels the emulation runs; products by own kernels and by
    /// a stand-in for cuBLASLt.
    @Test(
      .enabled(if: FakeLibraries.areThere, FakeLibraries.needs),
      arguments: [false, true])
    func operationsThroughTheDriver(hasLibrary: Bool) throws {
      let folder = try #require(Self.folder)
      let path = "\(folder)/libcuda.so.1"
      try FakeLibraries.openDriver()
      let search = LibrarySearch([
        CUDALibrary.driver.variable: path,
        CUDALibrary.cuBLASLt.variable: hasLibrary ? FakeLibraries.cuBLASLt : "none",
        LibrarySearch.foldersVariable: try #require(Self.nvrtcFolder),
      ])
      func used() throws -> Int { try FakeLibraries.ask("fake_used_bytes", in: .driver) }
      let before = try used()
      do {
        let device = try DriverDevice(
          localRank: 0, search: search, cacheDirectory: "\(folder)/accelerate-swift")
        #expect(device.summary.hasPrefix("cuda, Fake 0 (sm_90), driver for CUDA 13.0, NVRTC 13."))
        #expect(
          device.summary.hasSuffix(hasLibrary ? "cuBLASLt 13.1.0" : "products by own kernels"))
        #expect(device.identity.device == "Fake 0, sm_90, 132 multiprocessors")
        #expect(abs((device.limits.bytesPerSecond ?? 0) / 3352e9 - 1) < 0.001)
        #expect(abs((device.limits.operationsPerSecond ?? 0) / 989e12 - 1) < 0.001)
        let library = hasLibrary ? 32 << 20 : 0
        #expect(try device.freeByteCount() == 80_000_000_000 - before - library)
        for check in OperationCheck.all {
          let result = try check.compare(
            CUDABackend(device: device, precision: check.precision),
            with: CPUBackend(threadCount: 1, precision: check.precision), seed: 3)
          #expect(
            result.difference <= check.bound.value,
            "\(check.name): \(result.difference) at \(result.place)")
        }
        let time = try device.milliseconds { try device.synchronize() }
        #expect(time == 1.5)
        let staging = try device.allocateOnHost(byteCount: 100)
        #expect(staging.isOnHost && staging.byteCount == 100)
      }
      // Everything was given back.
      #expect(try used() == before + (hasLibrary ? 32 << 20 : 0))
      for name in ["fake_event_count", "fake_host_allocation_count"] {
        #expect(try FakeLibraries.ask(name, in: .driver) == 0)
      }
    }

    // MARK: Messages

    @Test func noDriver() throws {
      let run = try ProgramRun(
        ["generate", "--device", "cuda", "--prompt", "x"],
        environment: [CUDALibrary.driver.variable: "/nowhere/libcuda.so.1"])
      #expect(run.exitCode == ExitCode.failure)
      #expect(run.errors.contains("CUDA driver cannot be used: /nowhere/libcuda.so.1: cannot open"))
      #expect(run.errors.contains("fix: install NVIDIA's driver"))
      // The loader's text begins with the path, too.
      #expect(!run.errors.contains("libcuda.so.1: /nowhere/libcuda.so.1"))
    }

    @Test(
      .enabled(if: folder != nil, "no clang"),
      arguments: [["FAKE_INIT": "100"], ["FAKE_COUNT": "0"]])
    func driverWithoutGPU(_ changes: [String: String]) throws {
      let text = try errors(changes)
      #expect(text.contains("--device: cuda, but the driver sees no GPU"), "\(text)")
      #expect(text.contains("fix: give --device cpu"))
    }

    @Test(
      .enabled(if: folder != nil, "no clang"),
      arguments: [
        ("803", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)"), ("999", "CUDA_ERROR_UNKNOWN (999)"),
      ])
    func driverThatDoesNotStart(_ code: String, _ words: String) throws {
      let text = try errors(["FAKE_INIT": code])
      #expect(text.contains("CUDA driver cannot be used") && text.contains(words), "\(text)")
      #expect(text.contains("restart the machine after an update of it"))
    }

    @Test(.enabled(if: folder != nil, "no clang")) func driverThatLacksAFunction() throws {
      let text = try errors([
        CUDALibrary.driver.variable: "\(Self.folder ?? "")/libcuda-old.so.1"
      ])
      #expect(text.contains("it has no function cuEventDestroy_v2; it may be too old"), "\(text)")
    }

    @Test(.enabled(if: folder != nil, "no clang")) func oldGPU() throws {
      let text = try errors(["FAKE_CAPABILITY": "75"])
      #expect(
        text.contains("Fake 0 has compute capability 7.5, and the kernels need 8.0"), "\(text)")
    }

    @Test(.enabled(if: folder != nil && nvrtcFolder != nil, "no clang or no NVRTC"))
    func driverTooOldForTheCompiler() throws {
      let text = try errors(["FAKE_VERSION": "12020"])
      #expect(text.contains("the driver supports CUDA 12.2, but NVRTC"), "\(text)")
      #expect(text.contains("fix: update the driver, or install NVRTC of CUDA 12"))
    }

    @Test(.enabled(if: folder != nil && nvrtcFolder != nil, "no clang or no NVRTC"))
    func compilerWithoutItsBuiltins() throws {
      let alone = "\(Self.folder ?? "")/alone"
      try FileSystem.makeDirectories(alone)
      try FileSystem.write(
        FileSystem.readBytes("\(Self.nvrtcFolder ?? "")/libnvrtc.so.13", limit: 1 << 30),
        to: "\(alone)/libnvrtc.so.13")
      defer { try? FileSystem.remove(alone) }
      let text = try errors([LibrarySearch.foldersVariable: alone])
      #expect(text.contains("NVRTC's builtins, libnvrtc-builtins.so.13"), "\(text)")
      #expect(text.contains("cannot be opened: cannot open shared object file"))
      #expect(text.contains("fix: copy libnvrtc-builtins.so.13"))
    }

    /// Memory that is gone when it is needed, and memory that never sufficed: both show the plan.
    @Test(
      .enabled(if: folder != nil && nvrtcFolder != nil, "no clang or no NVRTC"),
      arguments: [
        (["FAKE_ROOM": "20000000"], "the GPU is out of memory: "),
        (["FAKE_MEMORY": "20000000"], "the run does not fit: "),
      ])
    func outOfMemory(_ changes: [String: String], _ words: String) throws {
      let folder = try #require(Self.folder)
      let run = try ProgramRun(
        ["train", "--device", "cuda", "--max-steps", "1", "--output", "\(folder)/run"],
        environment: Self.environment(changes))
      #expect(run.exitCode != 0)
      for word in [
        words, "base: dense weights", "activations", "most at one time", "other settings",
      ] {
        #expect(run.errors.contains(word), "\(word) is not in \(run.errors)")
      }
      try FileSystem.remove("\(folder)/run")
    }

    private func errorsOfRanks(_ arguments: [String], _ changes: [String: String]) throws
      -> String
    {
      let folder = try #require(Self.folder)
      var variables = changes
      variables[CUDALibrary.nccl.variable] = "\(folder)/libnccl.so.2"
      let run = try ProgramRun(
        ["launch", "--nproc", "2", "train", "--device", "cuda", "--max-steps", "1", "--output"]
          + ["\(folder)/ranks"] + arguments, environment: Self.environment(variables))
      try? FileSystem.remove("\(folder)/ranks")
      return run.errors
    }

    /// The identifier that rank 0 makes reaches the others over MPI.
    @Test(.enabled(if: folder != nil && nvrtcFolder != nil, "no clang or no NVRTC"))
    func identifierTravelsOverMPI() throws {
      let log = "\(try #require(Self.folder))/identifiers"
      let text = try errorsOfRanks(
        ["--collectives", "nccl"], ["FAKE_COUNT": "2", "FAKE_NCCL_LOG": log])
      #expect(text.contains("travel from GPU to GPU by NCCL 2.28.9"), "\(text)")
      #expect(text.contains("meeting the other ranks failed: an error (2): what NCCL says"))
      let arrived = try (0..<2).map { try FileSystem.readText("\(log)-\($0)", limit: 4096) }
      #expect(arrived[0].hasPrefix("2 identifier 1 of "), "\(arrived)")
      #expect(arrived[0] == arrived[1])
    }

    @Test(
      .enabled(if: folder != nil && nvrtcFolder != nil, "no clang or no NVRTC"),
      arguments: [
        ([], ["FAKE_COUNT": "1"], "MPI: ranks 0 and 1 share Fake 0 at 0000:01:00.0 on "),
        (
          ["--collectives", "nccl"], ["FAKE_COUNT": "1"],
          "--collectives: nccl, but ranks 0 and 1 share Fake 0"
        ),
        (
          [], ["FAKE_COUNT": "2", "FAKE_NCCL_DIFFERS": "1"],
          "NCCL: hosts have different versions: 2.28.9 on "
        ),
        ([], ["FAKE_COUNT": "2", "FAKE_NCCL_VERSION": "21605"], "rank 0 on "),
      ]) func whatCarriesTensors(
        _ arguments: [String], _ changes: [String: String], _ words: String
      )
      throws
    {
      let text = try errorsOfRanks(arguments, changes)
      #expect(text.contains(words), "\(text)")
    }

    /// A GPU that is lost in the middle of a run: named at once, and the exit code is a failure.
    @Test(.enabled(if: folder != nil && nvrtcFolder != nil, "no clang or no NVRTC"))
    func lostGPU() throws {
      let folder = try #require(Self.folder)
      let run = try ProgramRun(
        ["train", "--device", "cuda", "--max-steps", "5", "--output", "\(folder)/lost"],
        environment: Self.environment(["FAKE_LOST_AFTER": "3000"]))
      #expect(run.exitCode == ExitCode.failure)
      #expect(
        run.errors.contains("failed on Fake 0 at 0000:01:00.0: CUDA_ERROR (719)"), "\(run.errors)")
      #expect(run.errors.contains("the GPU was lost or its program broke off"))
      #expect(run.errors.contains("--resume goes on from the last checkpoint"))
      try? FileSystem.remove("\(folder)/lost")
    }

    @Test(.enabled(if: folder != nil, "no clang")) func environmentNamesTheGPU() throws {
      let run = try ProgramRun(["env"], environment: Self.environment(["FAKE_COUNT": "2"]))
      #expect(run.output.contains("Fake 1, sm_90, 76293 MiB"), "\(run.output)")
    }
  }
}
