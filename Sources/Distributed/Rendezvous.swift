package import Support

/// What the launcher says about this process in its environment, before MPI is loaded.
package struct RankEnvironment: Sendable, Equatable {
  package var rank: Int
  /// Nil when a launcher started this process but does not tell how many there are.
  package var worldSize: Int?
  package var localRank: Int
  package var localWorldSize: Int

  /// Reads the variables of `mpirun`, of PMIx and PMI, and of Slurm.
  ///
  /// - Parameter variables: the environment.
  /// - Throws: ``UserError`` when Slurm started several tasks without PMIx: each would believe
  ///   that it is alone.
  package init(_ variables: [String: String]) throws(UserError) {
    func number(_ names: String...) -> Int? {
      for name in names {
        if let text = variables[name], let value = Int(text), value >= 0 { return value }
      }
      return nil
    }
    let taskCount = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if let size = number("OMPI_COMM_WORLD_SIZE") {
      worldSize = size
      rank = number("OMPI_COMM_WORLD_RANK") ?? 0
      localRank = number("OMPI_COMM_WORLD_LOCAL_RANK") ?? 0
      localWorldSize = number("OMPI_COMM_WORLD_LOCAL_SIZE") ?? 1
    } else if let rank = number("PMIX_RANK", "PMI_RANK") {
      self.rank = rank
      worldSize = number("PMI_SIZE") ?? taskCount
      localRank = number("SLURM_LOCALID") ?? 0
      localWorldSize = SlurmStep(variables)?.localTaskCount ?? 1
    } else {
      (rank, worldSize, localRank, localWorldSize) = (0, 1, 0, 1)
    }
    if worldSize == 1, let taskCount, taskCount > 1 { throw Self.aloneUnderSlurm(taskCount) }
  }

  /// The error for a task that Slurm did not connect to the others.
  static func aloneUnderSlurm(_ taskCount: Int) -> UserError {
    UserError(
      .usage, at: "SLURM_NTASKS=\(taskCount)",
      "Slurm holds \(taskCount) tasks, but this process was started alone: it would train by "
        + "itself, \(taskCount) times over",
      fix: "start the ranks with: srun --mpi=pmix accelerate-swift ...")
  }
}

/// Brings the ranks of a job together.
package enum Rendezvous {
  /// An absolute path of libmpi.so.40 that is used instead of searching.
  package static let libraryVariable = "ACCELERATE_MPI_LIB"

  /// The names under which Open MPI 4.1 and 5 install their library.
  private static let sonames = ["libmpi.so.40", "libmpi.so", "libmpi.so.20"]

  /// The group of all ranks. One rank never loads MPI.
  ///
  /// - Parameters:
  ///   - environment: where the launcher's variables are looked up.
  ///   - pieceByteCount: the most bytes of one MPI call; smaller values serve tests.
  /// - Returns: a ``SoloGroup`` or an ``MPIProcessGroup``.
  /// - Throws: ``UserError`` when MPI cannot be used.
  package static func start(
    environment: [String: String] = KernelFile.environment(),
    pieceByteCount: Int = MPIProcessGroup.defaultPieceByteCount
  ) throws(UserError) -> any ProcessGroup {
    let expected = try RankEnvironment(environment)
    if expected.worldSize == 1 { return SoloGroup() }
    var libraries = sonames
    if let path = environment[libraryVariable], !path.isEmpty {
      guard path.hasPrefix("/") else {
        throw UserError(
          .usage, at: "\(libraryVariable)=\(path)", "not an absolute path",
          fix: "give the whole path, for example /usr/lib/x86_64-linux-gnu/libmpi.so.40")
      }
      libraries = [path]
    }
    let group = try MPIProcessGroup.start(libraries: libraries, pieceByteCount: pieceByteCount)
    if let size = expected.worldSize, size != group.worldSize {
      throw UserError(
        .distributed,
        "the launcher started \(size) ranks, but MPI knows of \(group.worldSize): they do not "
          + "speak the same protocol",
        fix: "under Slurm use srun --mpi=pmix; else let mpirun and libmpi be of one installation")
    }
    return group
  }
}
