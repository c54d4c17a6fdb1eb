internal import Glibc
internal import Support

/// Files in shared memory through which ranks of one host speak. Open MPI leaves them, four
/// megabytes a rank, when a rank does not end in the usual way.
package enum SharedSegments {
  private static let folder = "/dev/shm"
  /// Open MPI 4.1 and 5.
  private static let prefixes = ["vader_segment.", "sm_segment."]

  /// Open MPI's number of the job that a process belongs to; nil when it belongs to none.
  package static func job(ofEnvironment variables: [String: String]) -> UInt32? {
    variables["OMPI_MCA_ess_base_jobid"].flatMap { UInt32($0) }
      ?? variables["PMIX_NAMESPACE"].flatMap { UInt32($0) }
  }

  /// Removes what a job of this user has left on this machine.
  ///
  /// - Parameter job: Open MPI's number of it.
  package static func remove(job: UInt32) {
    // vader_segment.HOST.USER.JOB.RANK
    let end = ".\(getuid()).\(String(job, radix: 16))."
    for name in (try? FileSystem.list(folder)) ?? [] {
      guard prefixes.contains(where: name.hasPrefix), let range = name.firstRange(of: end),
        Int(name[range.upperBound...]) != nil
      else { continue }
      try? FileSystem.remove("\(folder)/\(name)")
    }
  }
}
