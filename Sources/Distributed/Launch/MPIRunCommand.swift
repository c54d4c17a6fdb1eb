/// The command line of `mpirun`.
package struct MPIRunCommand: Sendable {
  /// The file of mpirun.
  package var mpirun: String
  /// 4 or 5: the flags of the launcher inside differ.
  package var majorVersion: Int
  package var hosts: Hostfile
  package var rankCount: Int
  /// Whether the ranks run on other machines too, reached by ssh.
  package var isRemote: Bool
  /// mpirun refuses to run as root unless told.
  package var isRoot: Bool
  /// Whether ranks of one host may read each other's memory; see ``CrossMemory``.
  package var usesCrossMemory: Bool
  /// How other machines are reached: the value of Open MPI's setting.
  package var shellArguments = RemoteShell.defaultArguments.joined(separator: " ")
  /// Over which interface hosts talk; nil: Open MPI chooses.
  package var networkInterface: NetworkInterface?
  /// Open MPI settings of the user, which win over those below.
  package var userSettings: Set<String> = []
  /// Variables that ranks on other hosts get.
  package var forwardedNames: [String] = []
  /// This program's file, the same path on all hosts.
  package var program: String
  package var command: [String]

  package init(
    mpirun: String, majorVersion: Int, hosts: Hostfile, rankCount: Int, isRemote: Bool,
    isRoot: Bool, usesCrossMemory: Bool, program: String, command: [String]
  ) {
    self.mpirun = mpirun
    self.majorVersion = majorVersion
    self.hosts = hosts
    self.rankCount = rankCount
    self.isRemote = isRemote
    self.isRoot = isRoot
    self.usesCrossMemory = usesCrossMemory
    self.program = program
    self.command = command
  }

  /// All words, mpirun's name first.
  package var arguments: [String] {
    var words = [mpirun]
    if isRoot { words.append("--allow-run-as-root") }
    words += ["-n", "\(rankCount)"]
    // Names and slots were checked, so they can stand on a command line.
    words += ["-H", hosts.hosts.map { "\($0.name):\($0.slots)" }.joined(separator: ",")]
    // The ranks fill one host after the other; threads of a rank use all cores it is given.
    words += ["--map-by", "slot", "--bind-to", "none"]
    for (flag, name, value) in settings where !userSettings.contains(name) {
      words += [flag, name, value]
    }
    if isRemote { words += forwardedNames.flatMap { ["-x", $0] } }
    return words + [program] + command
  }

  /// Settings of Open MPI, each named once: mpirun refuses a repeated one.
  private var settings: [(flag: String, name: String, value: String)] {
    let isNew = majorVersion >= 5
    var list = [
      // A waiting rank leaves its core to others; several ranks may share one.
      ("--mca", "mpi_yield_when_idle", "1"),
      ("--mca", "pml", "ob1"),
      ("--mca", "btl", isNew ? "self,sm,tcp" : "self,vader,tcp"),
    ]
    if !usesCrossMemory {
      list.append(
        isNew ? ("--mca", "smsc", "^cma") : ("--mca", "btl_vader_single_copy_mechanism", "none"))
    }
    let launcherFlag = isNew ? "--prtemca" : "--mca"
    if isRemote {
      list += [
        (launcherFlag, "plm", isNew ? "ssh" : "rsh"),
        (launcherFlag, isNew ? "plm_ssh_args" : "plm_rsh_args", shellArguments),
        // A host that does not answer is noticed within seconds.
        (launcherFlag, "oob_tcp_keepalive_time", "5"),
        (launcherFlag, "oob_tcp_keepalive_intvl", "1"),
        (launcherFlag, "oob_tcp_keepalive_probes", "3"),
      ]
      // Open MPI refuses a list of interfaces to use beside one of interfaces to leave out.
      for (flag, prefix) in [("--mca", "btl_tcp_if"), (launcherFlag, "oob_tcp_if")] {
        if let networkInterface {
          list.append((flag, "\(prefix)_include", networkInterface.text))
        } else if !userSettings.contains("\(prefix)_include") {
          list.append((flag, "\(prefix)_exclude", NetworkInterface.excluded))
        }
      }
    } else if !isNew {
      // Starts processes on this machine alone; needs no ssh.
      list.append((launcherFlag, "plm", "isolated"))
    }
    return list
  }

  /// The line as a user would type it, for `--verbose`.
  package var shellText: String {
    let quoted = arguments.map { word in
      if !word.isEmpty && EnvironmentScrubber.isPlain(word.filter { $0 != "=" }) { return word }
      let parts = word.split(separator: "'", omittingEmptySubsequences: false)
      return "'" + parts.joined(separator: "'\\''") + "'"
    }
    return quoted.joined(separator: " ")
  }

  /// Open MPI's major version from the text of `mpirun --version`, for example
  /// `mpirun (Open MPI) 4.1.4`; nil for any other mpirun.
  package static func majorVersion(ofText text: String) -> Int? {
    guard let line = text.split(whereSeparator: \.isNewline).first,
      let range = line.firstRange(of: "(Open MPI) ")
    else { return nil }
    return Int(line[range.upperBound...].prefix { $0.isWholeNumber })
  }
}
