package import Support

/// The flags of `launch`, and the command that follows them.
package struct LaunchOptions: Sendable, Equatable {
  package var nproc: Int?
  /// Whether there is one rank for each GPU.
  package var isOnePerGPU = false
  package var hostfile: String?
  /// Over which interface ranks of several hosts talk; nil: Open MPI chooses.
  package var networkInterface: NetworkInterface?
  /// A configuration file for ssh instead of the user's own.
  package var sshConfiguration: String?
  /// Whether other hosts are looked at before anything starts.
  package var checksHosts = true
  package var isVerbose = false
  package var wantsHelp = false
  /// How often a job that failed is started again without a new checkpoint in between.
  package var maxRestarts = 0
  /// How long a rank may stand still.
  package var limits = JobJudge.Limits()
  /// How long ranks go on without hearing from `launch`.
  package var leaseSeconds = 60
  /// How long ranks have to save after they were asked to stop.
  package var graceSeconds = 60.0
  /// The address of this machine on which ranks of other hosts reach `launch`; nil: any.
  package var controlAddress: String?
  /// The command of each rank with its own arguments.
  package var command: [String] = []

  /// More ranks than this are a typing mistake.
  private static let maximumRankCount = 65536

  package static let help = """
    Starts one rank per slot with Open MPI's mpirun, on this machine or over several hosts.

    usage: accelerate-swift launch [flags] <command> [arguments]

      --nproc N|auto   how many ranks (default: the slots of the hostfile, else 1; one rank on this
                       machine needs no MPI). auto: one for each GPU that the driver shows, which
                       CUDA_VISIBLE_DEVICES restricts; with a hostfile each host is asked over ssh,
                       and its slots do not count
      --hostfile FILE  the hosts, one a line: name slots=N (see hostfiles/)
      --network-interface NAME|NETWORK
                       over which several hosts talk: eth0, or 10.0.0.0/24 where names differ
                       (default: Open MPI chooses among all but lo and docker0)
      --ssh-config FILE
                       used instead of ~/.ssh/config to reach the hosts
      --no-preflight   start without a look at every host (program, model, memory, Open MPI)
      --max-restarts K
                       start a failed job again from its newest checkpoint, up to K times without
                       a new one in between (default: 0)
      --timeout-seconds N
                       a rank that does nothing new for N seconds, or 5 times the longest seen, is
                       stuck; so is one whose phase (a step) takes as long, except that a rank
                       which moves has 60 times N for the first of its kind. By phase as
                       step=120,loading=600 (default: 60, and 300 while files are written).
                       Phases: starting, loading, data, step, evaluation, checkpoint, finishing
      --lease-seconds N
                       a rank that hears nothing from launch for N seconds ends itself
                       (default: 60)
      --grace-seconds N
                       time to save a checkpoint after SIGTERM, SIGINT or SIGUSR1 (default: 60)
      --control-address IP
                       the address of this machine where ranks on other hosts reach launch
                       (default: all it has)
      --verbose        print the command line of mpirun and all that mpirun says
      --help           print this text

    Rank 0 prints as it would alone; lines of other ranks begin with "[rank N] ". When a rank fails
    the others are stopped, and launch ends with the code of that rank (128 + the signal's number
    when a signal ended it; 71 when it stood still or its host was lost). A signal to launch lets
    train save a checkpoint and ends with code 75; a second one ends it at once. Each rank uses its
    share of the machine's cores; ACCELERATE_THREADS=N overrules that.

    examples:
      accelerate-swift launch --nproc 4 train
      accelerate-swift launch --hostfile hostfiles/two-nodes train --config run.yaml

    """

  package init() {}

  /// Parses what follows the word `launch`; flags end at the first word that is not one.
  ///
  /// - Parameter arguments: the words.
  /// - Throws: ``UserError`` that names the flag.
  package init(_ arguments: [String]) throws(UserError) {
    var rest = arguments[...]
    while let word = rest.first, word.hasPrefix("-") {
      rest = rest.dropFirst()
      let parts = word.split(separator: "=", maxSplits: 1).map { String($0) }
      let inlineValue = parts.count == 2 ? parts[1] : nil
      func value(_ example: String) throws(UserError) -> String {
        if let inlineValue { return inlineValue }
        guard let next = rest.first else {
          throw UserError(.usage, at: word, "a value is missing", fix: "write \(example)")
        }
        rest = rest.dropFirst()
        return next
      }
      switch parts.first ?? word {
      case "--nproc":
        let text = try value("--nproc 4")
        isOnePerGPU = text == "auto"
        if isOnePerGPU {
          nproc = nil
          break
        }
        guard let count = Int(text), (1...Self.maximumRankCount).contains(count) else {
          throw UserError(
            .usage, at: "--nproc",
            "\"\(text)\" is not a number of ranks from 1 to "
              + "\(Self.maximumRankCount)",
            fix: "write --nproc 4, or --nproc auto for one on each GPU")
        }
        nproc = count
      case "--hostfile": hostfile = try value("--hostfile hostfiles/two-nodes")
      case "--network-interface":
        networkInterface = try NetworkInterface(value("--network-interface eth0"))
      case "--ssh-config": sshConfiguration = try value("--ssh-config cluster/ssh_config")
      case "--no-preflight" where inlineValue == nil: checksHosts = false
      case "--max-restarts":
        maxRestarts = Int(
          try Self.number(try value("--max-restarts 3"), 0...1_000_000, at: "--max-restarts"))
      case "--grace-seconds":
        graceSeconds = try Self.number(
          try value("--grace-seconds 60"), 0...86_400, at: "--grace-seconds")
      case "--timeout-seconds":
        try limits.set(try value("--timeout-seconds 600"), at: "--timeout-seconds")
      case "--lease-seconds":
        leaseSeconds = Int(
          try Self.number(try value("--lease-seconds 60"), 1...86_400, at: "--lease-seconds"))
      case "--control-address": controlAddress = try value("--control-address 10.0.0.1")
      case "--verbose" where inlineValue == nil: isVerbose = true
      case "--help" where inlineValue == nil, "-h" where inlineValue == nil:
        wantsHelp = true
        return
      default:
        throw UserError(
          .usage, at: word, "launch has no such flag",
          fix: "`accelerate-swift launch --help` lists its flags; flags of the command follow the "
            + "command")
      }
    }
    command = Array(rest)
    guard let first = command.first else {
      throw UserError(
        .usage, at: "launch", "no command to run",
        fix: "write for example: accelerate-swift launch --nproc 4 train")
    }
    guard first != "launch" else {
      throw UserError(.usage, at: "launch", "launch cannot run itself")
    }
  }

  /// A whole number of a range.
  static func number(
    _ text: String, _ range: ClosedRange<Int>, at flag: String
  ) throws(UserError) -> Double {
    guard let number = Int(text), range.contains(number) else {
      throw UserError(
        .usage, at: flag,
        "\"\(text.prefix(80))\" is not a whole number from \(range.lowerBound) to "
          + "\(range.upperBound)", fix: "write \(flag) \(max(range.lowerBound, 3))")
    }
    return Double(number)
  }

  /// The hosts with their slots, and how many ranks there are in all.
  ///
  /// - Parameter gpuCounts: asks the hosts how many GPUs each has, where that decides.
  /// - Throws: ``UserError`` when the hostfile is wrong or has too few slots.
  package func placement(
    gpuCounts: ([Hostfile.Host]) throws(UserError) -> [Int]
  ) throws(UserError) -> (hosts: Hostfile, rankCount: Int) {
    if isOnePerGPU {
      var hosts =
        try hostfile.map { path throws(UserError) in try Hostfile(path: path) }
        ?? Hostfile(hosts: [Hostfile.Host(name: "localhost", slots: 1)])
      for (index, count) in try gpuCounts(hosts.hosts).enumerated() {
        hosts.hosts[index].slots = count
      }
      return (hosts, hosts.slotCount)
    }
    guard let hostfile else {
      let count = nproc ?? 1
      return (Hostfile(hosts: [Hostfile.Host(name: "localhost", slots: count)]), count)
    }
    let hosts = try Hostfile(path: hostfile)
    guard let nproc else { return (hosts, hosts.slotCount) }
    guard nproc <= hosts.slotCount else {
      throw UserError(
        .usage, at: "--nproc \(nproc)",
        "\(hostfile) has \(hosts.slotCount) slots on \(hosts.hosts.count) hosts.",
        fix: "ask for at most \(hosts.slotCount) ranks, or raise slots=N in the file.")
    }
    return (hosts, nproc)
  }
}
