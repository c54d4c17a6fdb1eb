internal import Glibc
internal import Support

/// What a job may have left on this machine.
package struct JobRemains: Sendable {
  /// The secret of the job, which all of its ranks have in their environment.
  package var token: String
  /// Open MPI's number of the job; 0 when it is not known.
  package var job: UInt32
  /// The file of the ranks.
  package var program: String

  package init(token: String, job: UInt32, program: String) {
    self.token = token
    self.job = job
    self.program = program
  }

  /// Ends ranks and Open MPI's daemons of the job, and removes their shared memory.
  ///
  /// - Returns: how many processes were ended.
  @discardableResult
  package func end() -> Int {
    var count = 0
    for name in (try? FileSystem.list("/proc")) ?? [] {
      guard let process = Int32(name), process != getpid(), isRank(process) || isDaemon(process),
        let state = ProcessTree.state(process), state != "Z", state != "X",
        kill(process, SIGKILL) == 0
      else { continue }
      count += 1
    }
    if job != 0 { SharedSegments.remove(job: job) }
    return count
  }

  private func isRank(_ process: Int32) -> Bool {
    ProcessTree.isProgram(process, program)
      && ProcessTree.hasVariable(process, ControlAddress.tokenVariable, token)
  }

  /// Open MPI 4.1's daemon of this job: `orted ... -mca ess_base_jobid NUMBER ...`, where ranks have
  /// the same upper 16 bits.
  private func isDaemon(_ process: Int32) -> Bool {
    guard job != 0, KernelFile.firstLine("/proc/\(process)/comm") == "orted" else { return false }
    let words = ProcessTree.arguments(process)
    guard let place = words.firstIndex(of: "ess_base_jobid"), place + 1 < words.count,
      let number = UInt32(words[place + 1])
    else { return false }
    return number >> 16 == job >> 16
  }
}
