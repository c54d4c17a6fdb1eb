import DistributedTraining
import Support
import Testing

@Suite struct EnvironmentTests {
  @Test func settingsThatAShellWouldActOnAreDropped() {
    let scrubber = EnvironmentScrubber([
      "OMPI_MCA_foo": "x\"; touch F; \"", "OMPI_MCA_btl": "self,tcp", "PMIX_MCA_a": "$(id)",
      "PRTE_MCA_b": "1", "HOME": "/root", "OMPI_MCA_pml": "^ucx",
    ])
    #expect(
      Set(scrubber.environment.keys) == ["OMPI_MCA_btl", "PRTE_MCA_b", "HOME", "OMPI_MCA_pml"])
    #expect(scrubber.settings == ["btl", "b", "pml"])
    #expect(
      scrubber.warnings == [
        "warning: the environment variable OMPI_MCA_foo is ignored: its value has characters that "
          + "a remote shell would act on",
        "warning: the environment variable PMIX_MCA_a is ignored: its value has characters that "
          + "a remote shell would act on",
      ])
  }

  @Test func tracesOfAnotherJobAreDroppedQuietly() {
    let scrubber = EnvironmentScrubber([
      "OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0", "PMI_RANK": "0", "SLURM_NTASKS": "4",
      "OMPI_ALLOW_RUN_AS_ROOT": "1", "OPAL_PREFIX": "/opt/a b",
    ])
    #expect(Set(scrubber.environment.keys) == ["OMPI_ALLOW_RUN_AS_ROOT", "OPAL_PREFIX"])
    #expect(scrubber.warnings.isEmpty)
  }

  @Test func onlyNamedVariablesTravelAndNoSecrets() {
    let scrubber = EnvironmentScrubber([
      "ACCELERATE_CACHE": "/c", "ACCELERATE_API_KEY": "s", "NCCL_DEBUG": "INFO", "PATH": "/bin",
      "AWS_SECRET_ACCESS_KEY": "s", "HF_TOKEN": "s", "HOME": "/root", "LD_LIBRARY_PATH": "/l",
      "NCCL_x; touch F": "1",
    ])
    #expect(
      scrubber.forwardedNames == ["ACCELERATE_CACHE", "LD_LIBRARY_PATH", "NCCL_DEBUG", "PATH"])
  }

  @Test func ranksAreFoundInEachLaunchersVariables() throws {
    let alone = try RankEnvironment([:])
    #expect(alone.worldSize == 1 && alone.rank == 0)
    let mpirun = try RankEnvironment([
      "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
      "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "SLURM_NTASKS": "9",
    ])
    #expect(
      (mpirun.rank, mpirun.worldSize, mpirun.localRank, mpirun.localWorldSize) == (3, 4, 1, 2))
    let srun = try RankEnvironment([
      "PMIX_RANK": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0",
    ])
    #expect(srun.rank == 2 && srun.worldSize == 4)
    #expect(try RankEnvironment(["PMIX_RANK": "2"]).worldSize == nil)
  }

  @Test func aTaskThatSlurmDidNotConnectIsRefused() {
    let error = #expect(throws: UserError.self) {
      try RankEnvironment(["SLURM_NTASKS": "4", "SLURM_PROCID": "1"])
    }
    #expect(error?.description.contains("--mpi=pmix") == true)
    #expect(error?.description.hasPrefix("SLURM_NTASKS=4: ") == true)
    #expect(throws: UserError.self) {
      try RankEnvironment(["SLURM_NTASKS": "4", "OMPI_COMM_WORLD_SIZE": "1"])
    }
  }

  @Test func coresAreShared() {
    let cores = CPUBudget.coreCount()
    #expect(cores >= 1)
    #expect(CPUBudget.threadsPerRank(localWorldSize: 1, environment: [:]) == cores)
    #expect(CPUBudget.threadsPerRank(localWorldSize: 10_000, environment: [:]) == 1)
    let chosen = ["ACCELERATE_THREADS": "3"]
    #expect(CPUBudget.threadsPerRank(localWorldSize: 10_000, environment: chosen) == 3)
  }

  @Test func terminalIsNotAskedUnderMPIRun() {
    #expect(TerminalWidth.columns(environment: ["ACCELERATE_TERMINAL_COLUMNS": "80"]) == 80)
    #expect(TerminalWidth.columns(environment: ["ACCELERATE_TERMINAL_COLUMNS": "x"]) == nil)
    #expect(TerminalWidth.columns(environment: ["OMPI_COMM_WORLD_SIZE": "2"]) == nil)
  }

  @Test(arguments: [("0-3,8", 5), ("0", 1), ("", nil), ("a-b", nil), ("3-1", nil), ("0-255", 256)])
  func processorLists(_ list: String, _ expected: Int?) {
    #expect(CPUBudget.processors(list[...])?.count == expected)
  }

  @Test func processorNumbers() {
    #expect(CPUBudget.processors("8,0-2,1-3") == [0, 1, 2, 3, 8])
    #expect(CPUBudget.processors("0-99999999999") == nil)
    #expect(CPUBudget.processors("-3") == nil)
  }

  /// The cores near a device, from a folder like the kernel's.
  @Test func coresNearADevice() throws {
    let root = "/tmp/accelerate-swift-sysfs-\(UInt64.random(in: 0...UInt64.max))"
    let folder = "\(root)/bus/pci/devices/0000:3b:00.0"
    try FileSystem.makeDirectories(folder)
    defer { try? FileSystem.remove(root) }
    func write(_ name: String, _ text: String) throws {
      try FileSystem.write(Array(text.utf8), to: "\(folder)/\(name)")
    }
    try write("numa_node", "1\n")
    try write("local_cpulist", "16-31,48-63\n")
    for address in ["0000:3b:00.0", "0000:3B:00.0", "00000000:3B:00.0"] {
      let near = NearCores(pciAddress: address, sysfs: root)
      #expect(near?.node == 1)
      #expect(near?.list == "16-31,48-63")
    }
    #expect(NearCores(pciAddress: "0000:3c:00.0", sysfs: root) == nil)
    #expect(NearCores(pciAddress: "../devices/0000:3b:00.0", sysfs: root) == nil)
    try write("numa_node", "-1\n")
    #expect(NearCores(pciAddress: "0000:3b:00.0", sysfs: root) == nil)
  }
}
