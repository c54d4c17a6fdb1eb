internal import Glibc
internal import Support

/// Runs a command as one rank of a job, from joining the others to leaving them.
package enum RankJob {
  /// Joins the ranks, runs `body` and leaves.
  ///
  /// When `body` throws on any rank, that rank prints its error and ends at once with the error's
  /// code, without waiting for ranks that sit in a collective; the launcher then stops them.
  ///
  /// - Parameters:
  ///   - environment: where the launcher's variables are looked up.
  ///   - pieceByteCount: the most bytes of one MPI call; smaller values serve tests.
  ///   - savesOnStop: whether `body` looks at ``ProgressReporter/isStopRequested``; without it
  ///     signals end the process at once.
  ///   - body: what this rank does; returns its exit code.
  /// - Returns: the exit code.
  package static func run(
    environment: [String: String] = KernelFile.environment(),
    pieceByteCount: Int = MPIProcessGroup.defaultPieceByteCount,
    savesOnStop: Bool = false,
    _ body: (any ProcessGroup) throws -> Int32
  ) -> Int32 {
    var expected: RankEnvironment?
    let isUnderMPIRun = environment["OMPI_COMM_WORLD_SIZE"] != nil
    let progress = ProgressReporter()
    do {
      let known = try RankEnvironment(environment)
      expected = known
      try RankOutput.install(rank: known.rank)
      let launcher = ControlAddress(environment)
      if let launcher {
        try RankLink.start(
          address: launcher, supervisor: .launch, rank: known.rank, progress: progress)
      } else if savesOnStop {
        try StopSignals.install(progress)
      }
      let group = SupervisedGroup(
        try progress.waiting(in: "the start of MPI") { () throws(UserError) in
          try Rendezvous.start(environment: environment, pieceByteCount: pieceByteCount)
        }, progress: progress)
      var judge: RankZeroJudge?
      if launcher == nil && group.worldSize > 1 {
        judge = try RankZeroJudge.start(
          group, environment: environment, isUnderMPIRun: isUnderMPIRun)
      }
      let code = try body(group)
      // A failure of this rank alone must not wait for the others, which MPI's end does.
      if code != ExitCode.success && code != ExitCode.savedPleaseRequeue && group.worldSize > 1 {
        progress.announceEnd(code: code)
        end(code, isUnderMPIRun: isUnderMPIRun)
      }
      // Told before MPI's end, which may not come where one of Open MPI's daemons is lost.
      progress.announceEnd(code: code)
      try group.shutdown()
      judge?.waitForOthers()
      return code
    } catch {
      let isAlone = expected.map { $0.worldSize == 1 } ?? true
      report(error, isRankZeroOfMany: !isAlone && expected?.rank == 0)
      let code = (error as? UserError)?.exitCode ?? ExitCode.failure
      progress.announceFailure("\(error)", code: code)
      if isAlone { return code }
      end(code, isUnderMPIRun: isUnderMPIRun)
    }
  }

  /// The other ranks' lines get their prefix from ``RankOutput``.
  private static func report(_ error: any Error, isRankZeroOfMany: Bool) {
    let prefix = isRankZeroOfMany ? "[rank 0] " : ""
    let lines = "error: \(error)".split(separator: "\n", omittingEmptySubsequences: false)
    let text = lines.map { "\(prefix)\($0)\n" }.joined()
    fflush(nil)
    RankOutput.writeAll(Array(text.utf8), to: 2)
  }

  /// Ends this process so that mpirun or srun ends the others.
  static func end(_ code: Int32, isUnderMPIRun: Bool) -> Never {
    // MPI may not come to an end where ranks are gone: SIGALRM ends this process then.
    alarm(3)
    fflush(nil)
    // mpirun stops all ranks when one ends without MPI_Finalize. srun does not, unless asked, but
    // it obeys MPI_Abort, which under mpirun only adds noise.
    if !isUnderMPIRun { MPIProcessGroup.abort(code) }
    _exit(code)
  }
}
