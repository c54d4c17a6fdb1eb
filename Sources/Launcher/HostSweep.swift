import DistributedTraining
import Glibc
import Support

/// Ends what a job has left on other hosts after mpirun has gone.
struct HostSweep {
  var hosts: Hostfile
  /// This program's file, the same path on all hosts.
  var program: String
  var shell: RemoteShell
  /// The file of the remote shell.
  var shellProgram: String
  /// What the remote shell is started with.
  var environment: [String: String]
  var leaseSeconds: Int

  /// A host that has not answered by then is given up.
  private static let seconds = 5.0
  /// A host that was lost is not waited for; ssh takes the first value of a setting.
  private static let impatience = ["-o", "ConnectTimeout=2"]

  /// Visits all other hosts at the same time.
  ///
  /// - Parameter remains: of the job.
  /// - Returns: what there is to tell; nothing when all hosts were clean.
  func run(_ remains: JobRemains) -> [String] {
    let names = hosts.hosts.map(\.name).filter { !LaunchCommand.isThisMachine($0) }
    let children = names.map { name in
      ChildProcess(
        program: shellProgram,
        arguments: [shellProgram] + Self.impatience
          + shell.arguments(running: [program, HiddenCommands.endJob], on: name),
        environment: environment)
    }
    // The secret goes through the connection: command lines can be read by others.
    guard
      let endings = try? HostProbe.run(
        children, input: "\(remains.token) \(remains.job)\n", seconds: Self.seconds)
    else { return [] }
    return zip(names, endings).compactMap { name, ending in
      let words = ending.output.split(whereSeparator: \.isWhitespace)
      guard ending.exitCode == 0, let count = words.last.flatMap({ Int($0) }) else {
        return "\(name) could not be looked at after the end; ranks there end by themselves within "
          + "\(leaseSeconds) s"
      }
      return count == 0
        ? nil : "ended \(count) \(count == 1 ? "process" : "processes") left on \(name)"
    }
  }

  /// `_end-job`, on another host: reads the job's secret and Open MPI's number of it from stdin, ends
  /// what it finds of the job and prints how many processes that were.
  static func endJob() -> Int32 {
    let words = (readLine() ?? "").split(separator: " ").map { String($0) }
    guard words.count == 2, words[0].utf8.count >= 32, let job = UInt32(words[1]) else {
      return ExitCode.usage
    }
    print(JobRemains(token: words[0], job: job, program: CommandLine.arguments[0]).end())
    return ExitCode.success
  }
}
