import DistributedTraining
import Support
import Trainer

/// Asks hosts how many GPUs they have, for `--nproc auto`.
struct HostGPUs {
  var shell: RemoteShell
  /// The file of the remote shell.
  var shellProgram: String
  /// This program's file, the same path on all hosts.
  var program: String
  /// What the children are started with.
  var environment: [String: String]

  /// A driver that starts all its GPUs takes seconds each.
  private static let seconds = 60.0
  /// Stands before the answer in what a host prints: a login script may print, too.
  private static let mark = "accelerate-swift GPUs: "

  /// Asks all hosts at the same time.
  ///
  /// - Parameter hosts: of the hostfile.
  /// - Returns: the number of GPUs of each, 1 or more.
  /// - Throws: one ``UserError`` with every host that has none or does not answer.
  func counts(_ hosts: [Hostfile.Host]) throws(UserError) -> [Int] {
    let words = [program, HiddenCommands.gpuCount]
    var children: [ChildProcess] = []
    for host in hosts {
      let isHere = LaunchCommand.isThisMachine(host.name)
      children.append(
        ChildProcess(
          program: isHere ? program : shellProgram,
          arguments: isHere
            ? words : [shellProgram] + shell.arguments(running: words, on: host.name),
          environment: environment))
    }
    let endings = try HostProbe.run(children, input: "", seconds: Self.seconds)
    var counts: [Int] = []
    var problems: [String] = []
    for (host, ending) in zip(hosts, endings) {
      let line = ending.output.split(whereSeparator: \.isNewline).first { $0.hasPrefix(Self.mark) }
      guard ending.exitCode == 0,
        let count = line.flatMap({ Int($0.dropFirst(Self.mark.count)) }), (1...4096).contains(count)
      else {
        let said =
          ending.isTimedOut
          ? "no answer within \(Int(Self.seconds)) seconds" : Preflight.firstLine(ending.errors)
        problems.append("\(host.name): \(said.isEmpty ? "no answer" : said)")
        continue
      }
      counts.append(count)
    }
    guard problems.isEmpty else {
      throw UserError(
        .usage, at: "--nproc auto",
        "not every host has a GPU that can be counted\n  " + problems.joined(separator: "\n  "),
        fix: "mend these hosts or leave them out, or give the number of ranks: --nproc 4")
    }
    return counts
  }

  /// `_gpu-count`, on each host.
  static func printCount() -> Int32 {
    do throws(UserError) {
      let environment = try ProgramEnvironment(KernelFile.environment())
      print("\(mark)\(try GPUPlacement.count(environment))")
      return ExitCode.success
    } catch {
      LaunchTerminal.print("error: \(error)")
      return error.exitCode
    }
  }
}
