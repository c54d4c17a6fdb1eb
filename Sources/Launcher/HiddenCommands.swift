import DistributedTraining
import Glibc
import Support
import Trainer

/// Subcommands that the program itself and its tests start; they are in no help text.
enum HiddenCommands {
  /// Becomes another program that gets SIGTERM when its parent ends.
  ///
  /// The words that follow: the parent's process number, and all arguments of the program, its
  /// file first.
  static let endsWithParent = "_ends-with-parent"

  /// Prints what `launch` has to know of a host before it starts ranks there.
  static let hostReport = "_host-report"

  /// Prints how many GPUs a host's driver shows; see ``HostGPUs``.
  static let gpuCount = "_gpu-count"

  /// Ends what a job has left on this machine; see ``HostSweep``.
  static let endJob = "_end-job"

  /// Whether a word is, or looks like, a hidden subcommand: all start with `_`.
  static func contains(_ name: String) -> Bool { name.hasPrefix("_") }

  /// Runs a hidden subcommand.
  ///
  /// - Parameter arguments: what follows the name of the program.
  /// - Returns: the exit code; nil when the first word is no hidden subcommand.
  static func run(arguments: [String]) -> Int32? {
    switch arguments.first {
    case RankOutput.relayCommand:
      guard arguments.count == 2, let rank = Int(arguments[1]) else { return ExitCode.usage }
      return RankOutput.relay(rank: rank)
    case endsWithParent:
      guard arguments.count >= 3, let parent = Int32(arguments[1]) else { return ExitCode.usage }
      return endWithParent(parent, Array(arguments[2...]))
    case hostReport: return HostReport.run()
    case gpuCount: return HostGPUs.printCount()
    case endJob: return HostSweep.endJob()
    case "_rank-test": return RankTest.run(arguments: Array(arguments.dropFirst()))
    default: return nil
    }
  }

  private static func endWithParent(_ parent: Int32, _ words: [String]) -> Int32 {
    // The parent may have ended before the request was made.
    guard ProcessTree.endWithParent(), getppid() == parent else { return ExitCode.failure }
    do throws(UserError) {
      try ChildProcess(program: words[0], arguments: words).replaceThisProcess()
    } catch {
      LaunchTerminal.print("error: \(error)")
      return error.exitCode
    }
  }
}

/// `_rank-test`: what the tests of `launch` run on each rank. Its words are done in order:
///
///     collectives=SCALE   check every collective with transfers of about SCALE bytes
///     gather=BYTES        time one all-gather of so many bytes a rank
///     background-gather=BYTES  the same over a group for a thread beside the computation
///     say=TEXT            write TEXT to stdout and TEXT to stderr, each as a line
///     lines=COUNT         write COUNT numbered lines to stdout and to stderr
///     raw=TEXT            write TEXT to stderr without a newline
///     environment=NAME    write the value of a variable
///     sleep=SECONDS
///     near-gpu            keep to the cores near this rank's GPU and tell which
///     step=NUMBER         report that a step begins
///     barrier             wait for all ranks
///     hang                compute without end
///     circle              compute without end and report moves, as if base weights were used
///     RANK:exit=CODE      end without a word
///     RANK:throw=TEXT     fail as a command does
///     RANK:fail=TEXT      fail in a way that a restart may mend
///     RANK:signal=NUMBER  end by a signal
///
/// `piece=BYTES`, first, sets the most bytes of one MPI call. `RANK:` may stand before any word.
enum RankTest {
  static func run(arguments: [String]) -> Int32 {
    var words = arguments[...]
    var piece = MPIProcessGroup.defaultPieceByteCount
    if let first = words.first, first.hasPrefix("piece="), let count = Int(first.dropFirst(6)) {
      piece = count
      words = words.dropFirst()
    }
    return RankJob.run(pieceByteCount: piece) { group in
      for word in words { try perform(word, group) }
      return ExitCode.success
    }
  }

  private static func perform(_ word: String, _ group: any ProcessGroup) throws {
    var action = word[...]
    if let colon = word.firstIndex(of: ":"), let rank = Int(word[..<colon]) {
      if rank != group.rank { return }
      action = word[word.index(after: colon)...]
    }
    let parts = action.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let value = parts.count == 2 ? String(parts[1]) : ""
    func write(_ text: String, to descriptor: Int32) {
      RankOutput.writeAll(Array(text.utf8), to: descriptor)
    }
    switch parts[0] {
    case "collectives":
      try CollectiveCheck(group, scale: Int(value) ?? 1000).run()
      write("collectives right on \(group.rank) of \(group.worldSize)\n", to: 1)
    case "gather": try timeGather(group, byteCount: Int(value) ?? 0)
    case "background-gather":
      try timeGather(try group.makeBackgroundGroup(), byteCount: Int(value) ?? 0)
    case "say":
      write(value + "\n", to: 1)
      write(value + "\n", to: 2)
    case "lines":
      for line in 0..<(Int(value) ?? 0) {
        write("out \(line) of \(group.rank)\n", to: 1)
        write("err \(line) of \(group.rank)\n", to: 2)
      }
    case "raw": write(value, to: 2)
    case "environment": write("\(KernelFile.environment()[value] ?? "unset")\n", to: 1)
    case "sleep": usleep(UInt32((Double(value) ?? 0) * 1e6))
    case "near-gpu":
      let environment = try ProgramEnvironment(KernelFile.environment())
      let line = GPUPlacement.bindNearGPU(localRank: group.localRank, environment)
      let mask = String(decoding: KernelFile.read("/proc/self/status") ?? [], as: UTF8.self)
        .split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
      write("\(line ?? "nothing changes"); \(mask?.split(separator: "\t").last ?? "")\n", to: 1)
    case "step": group.progress.enter(.step, step: Int(value) ?? 1)
    case "barrier": try group.barrier()
    case "hang":
      let start = SteadyClock.seconds()
      while SteadyClock.seconds() >= start {}
    case "circle":
      let start = SteadyClock.seconds()
      while SteadyClock.seconds() >= start {
        group.progress.move()
        usleep(1000)
      }
    case "exit": _exit(Int32(value) ?? 1)
    case "throw":
      throw UserError(.notFinite, at: "step 3", value, fix: "lower --lr")
    case "fail": throw UserError(.system, value)
    case "signal":
      kill(getpid(), Int32(value) ?? SIGKILL)
      sleep(10)
    default: throw UserError(.usage, at: word, "unknown word of _rank-test")
    }
  }

  private static func timeGather(_ group: any ProcessGroup, byteCount: Int) throws {
    let send = [UInt8](repeating: UInt8(group.rank), count: byteCount)
    var receive = [UInt8](repeating: 0xEE, count: byteCount * group.worldSize)
    let clock = ContinuousClock()
    for _ in 0..<3 {
      try group.barrier()
      let time = try clock.measure {
        try unsafe send.withUnsafeBytes { send in
          try unsafe receive.withUnsafeMutableBytes { receive in
            try unsafe group.allGather(send, into: receive)
          }
        }
      }
      if group.rank == 0 { print("gather of \(byteCount) bytes a rank: \(time)") }
    }
  }
}
