import DistributedTraining
import Glibc
import Support
import TestSupport
import Testing

/// Ranks and GPUs, with a driver library that the test compiles.
@Suite(.serialized, .timeLimit(.minutes(5))) struct GPUTests {
  /// A folder with the driver and devices as the kernel shows them, removed at the end.
  final class Machine {
    let folder = "/tmp/accelerate-swift-gpus-\(UInt64.random(in: 0...UInt64.max))"
    var driver: String { "\(folder)/libcuda.so" }

    init() throws {
      try FileSystem.makeDirectories(folder)
      let tests = FileSystem.parent(of: #filePath)
      let root = FileSystem.parent(of: FileSystem.parent(of: tests))
      // Functions that only computing needs are there and fail.
      var code = try FileSystem.readText("\(tests)/FakeDriver/driver.c")
      let shim = try FileSystem.readText("\(root)/Sources/CCUDA/shim.c")
      for piece in shim.split(separator: "{\"cu").dropFirst() {
        let name = "cu" + piece.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        if !code.contains("int \(name)(") { code += "int \(name)(void) { return 999; }\n" }
      }
      try FileSystem.write(Array(code.utf8), to: "\(folder)/driver.c")
      var environment = KernelFile.environment()
      environment["PATH"] = (environment["PATH"] ?? "/usr/bin:/bin") + ":/opt/swift/usr/bin"
      let process = try ChildProcess(
        program: "/usr/bin/env",
        arguments: [
          "env", "clang", "-shared", "-fPIC", "-o", driver, "\(folder)/driver.c",
        ], environment: environment
      ).start()
      var status: Int32 = 0
      while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
      try #require(status == 0, "clang cannot compile the driver")
    }

    deinit { try? FileSystem.remove(folder) }

    func run(
      gpus: Int = 3, visible: String? = nil, driver: String? = nil, _ arguments: [String]
    ) throws -> ProgramRun {
      try ProgramRun(
        arguments,
        environment: [
          "ACCELERATE_CUDA_DRIVER_LIB": driver ?? self.driver, "FAKE_GPUS": "\(gpus)",
          "CUDA_VISIBLE_DEVICES": visible, NearCores.sysfsVariable: "\(folder)/sys",
        ])
    }

    /// Puts GPU `number` of the fake driver on a memory node.
    func place(_ number: Int, node: Int, cores: String) throws {
      let address = "0000:\(String(0x3b + 0x10 * number, radix: 16)):00.0"
      let device = "\(folder)/sys/bus/pci/devices/\(address)"
      try FileSystem.makeDirectories(device)
      try FileSystem.write(Array("\(node)\n".utf8), to: "\(device)/numa_node")
      try FileSystem.write(Array("\(cores)\n".utf8), to: "\(device)/local_cpulist")
    }
  }

  @Test func oneRankForEachVisibleGPU() throws {
    let machine = try Machine()
    for (visible, count) in [(nil, 3), ("1,2", 2), ("GPU-2", 1), ("0,7,1", 1)] as [(String?, Int)] {
      let run = try machine.run(
        visible: visible, ["launch", "--nproc", "auto", "_rank-test", "say=here"])
      #expect(run.exitCode == 0, "\(run.errors)")
      #expect(run.outputLines.count == count, "\(visible ?? "all"): \(run.output)")
    }
    let hostfile = "\(machine.folder)/hosts"
    try FileSystem.write(Array("localhost slots=9\n".utf8), to: hostfile)
    let run = try machine.run(
      gpus: 2,
      ["launch", "--hostfile", hostfile, "--nproc", "auto", "_rank-test", "say=here"])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(run.outputLines.count == 2, "\(run.output)")
  }

  @Test func withoutGPUsItSaysWhatToDo() throws {
    let machine = try Machine()
    let command = ["launch", "--nproc", "auto", "_rank-test", "say=here"]
    func refuse(_ run: ProgramRun, _ words: [String]) {
      #expect(run.exitCode != 0 && run.output.isEmpty)
      for word in words { #expect(run.errors.contains(word), "\(run.errors)") }
    }
    refuse(try machine.run(gpus: 0, command), ["--nproc auto: ", "shows none", "nvidia-smi -L"])
    refuse(try machine.run(visible: "", command), ["CUDA_VISIBLE_DEVICES is \"\""])
    refuse(
      try machine.run(driver: "/nowhere/libcuda.so", command),
      ["--nproc auto: ", "/nowhere/libcuda.so", "--nproc 4"])
    let hostfile = "\(machine.folder)/hosts"
    try FileSystem.write(Array("localhost\n".utf8), to: hostfile)
    refuse(
      try machine.run(
        gpus: 0, ["launch", "--hostfile", hostfile, "--nproc", "auto", "_rank-test", "say=here"]),
      ["localhost: error: --nproc auto: ", "shows none"])
  }

  @Test func ranksKeepToCoresNearTheirGPU() throws {
    let machine = try Machine()
    let status = String(decoding: KernelFile.read("/proc/self/status") ?? [], as: UTF8.self)
    let label = "Cpus_allowed_list:\t"
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix(label) })
    let allowed = try #require(CPUBudget.processors(line.dropFirst(label.count)))
    guard let first = allowed.first, let last = allowed.last, first != last else {
      print("SKIPPED: binding of ranks; this process may use one core only")
      return
    }
    // The first GPU has a core that is not there, too.
    try machine.place(0, node: 0, cores: "\(first),4000-4001")
    try machine.place(1, node: 1, cores: "\(last)")
    let run = try machine.run(["launch", "--nproc", "2", "_rank-test", "near-gpu"])
    #expect(
      run.outputLines.sorted() == [
        "GPU 0 at 0000:3b:00.0: on cores \(first), which are near it (node 0); \(first)",
        "[rank 1] GPU 1 at 0000:4b:00.0: on cores \(last), which are near it (node 1); \(last)",
      ], "\(run.output) \(run.errors)")
    // What CUDA_VISIBLE_DEVICES shows first is GPU 0 of the process.
    let other = try machine.run(visible: "1", ["launch", "--nproc", "1", "_rank-test", "near-gpu"])
    #expect(other.output.contains("GPU 0 at 0000:4b:00.0: on cores \(last),"), "\(other.output)")
    // A GPU of which the kernel knows nothing.
    let third = try machine.run(visible: "2", ["launch", "--nproc", "1", "_rank-test", "near-gpu"])
    #expect(third.output.contains("nothing changes; \(CPUBudget.listText(allowed))"))
    let report = try machine.run(["env"])
    #expect(report.output.contains("0000:4b:00.0, memory node 1, cores \(last)\n"))
    #expect(report.output.contains("0000:5b:00.0, memory node not told\n"))
  }
}
