import DistributedTraining
import Support
import Testing

/// The variables are those that Slurm 23 sets for a task, as its manual lists them.
@Suite struct SlurmTests {
  /// Task 2 of `srun --mpi=pmix -N 2 -n 3 --cpus-per-task=4`.
  private static let pmix = [
    "PMIX_RANK": "2", "PMIX_NAMESPACE": "slurm.pmix.812.0", "PMIX_SECURITY_MODE": "munge,native",
    "SLURM_JOB_ID": "812", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1", "SLURM_NTASKS": "3", "SLURM_NPROCS": "3", "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NUM_NODES": "2", "SLURM_TASKS_PER_NODE": "2,1", "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_CPUS_PER_TASK": "4", "SLURM_CPU_BIND": "quiet,mask_cpu:0xF",
    "SLURM_CPU_BIND_TYPE": "mask_cpu:", "SLURM_JOB_NODELIST": "node[01-02]",
    "SLURMD_NODENAME": "node02",
  ]

  @Test func aTaskKnowsItsPlace() throws {
    let rank = try RankEnvironment(Self.pmix)
    #expect((rank.rank, rank.worldSize, rank.localRank, rank.localWorldSize) == (2, 3, 0, 1))
    var first = Self.pmix
    first.merge(["PMIX_RANK": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"]) { $1 }
    let other = try RankEnvironment(first)
    #expect((other.rank, other.worldSize, other.localRank, other.localWorldSize) == (1, 3, 1, 2))
  }

  @Test func theStepDecidesNotTheJob() throws {
    // A job of 8 tasks whose step runs 2 of them on one host.
    var step = Self.pmix
    step.merge([
      "SLURM_NTASKS": "8", "SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_NUM_TASKS": "2",
      "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0", "PMIX_RANK": "1",
    ]) { $1 }
    let rank = try RankEnvironment(step)
    #expect(rank.worldSize == 2 && rank.localWorldSize == 2)
  }

  @Test func pmi2IsReadToo() throws {
    let rank = try RankEnvironment([
      "PMI_RANK": "3", "PMI_SIZE": "4", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
      "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    ])
    #expect((rank.rank, rank.worldSize, rank.localRank, rank.localWorldSize) == (3, 4, 1, 2))
  }

  @Test(arguments: [["--mpi=none"], ["--mpi=cray_shasta"]])
  func withoutPMIxATaskIsRefused(_ flags: [String]) {
    var variables = Self.pmix
    for name in ["PMIX_RANK", "PMIX_NAMESPACE", "PMIX_SECURITY_MODE"] { variables[name] = nil }
    let error = #expect(throws: UserError.self) { try RankEnvironment(variables) }
    #expect(error?.description.contains("srun --mpi=pmix") == true)
    #expect(error?.description.hasPrefix("SLURM_NTASKS=3") == true)
    #expect(error?.exitCode == ExitCode.usage)
  }

  @Test func oneTaskIsNoError() throws {
    let rank = try RankEnvironment(["SLURM_NTASKS": "1", "SLURM_PROCID": "0"])
    #expect(rank.worldSize == 1)
  }

  @Test func processorsAreThoseOfTheTask() throws {
    #expect(SlurmStep(["SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"]) == nil)
    let bound = try #require(SlurmStep(Self.pmix))
    #expect(bound.processorsPerTask == 4 && bound.sharerCount == 1 && bound.localTaskCount == 1)
    let free = try #require(
      SlurmStep([
        "SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_CPU_BIND_TYPE": "none",
      ]))
    #expect(free.processorsPerTask == nil && free.sharerCount == 4)
  }

  @Test(arguments: [
    ("2(x3),1", 0, 2), ("2(x3),1", 2, 2), ("2(x3),1", 3, 1), ("2(x3),1", 4, nil), ("16", 0, 16),
    ("", 0, nil), ("x", 0, nil), ("2(3)", 0, nil), ("0", 0, nil), ("2(x0)", 0, nil),
  ])
  func lists(_ list: String, _ node: Int, _ expected: Int?) {
    #expect(SlurmStep.count(list, node: node) == expected)
  }
}
