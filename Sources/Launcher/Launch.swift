import DistributedTraining
import Glibc
import Support
import Trainer

/// `accelerate-swift launch`: starts the ranks of a job and answers for them.
enum LaunchCommand {
  /// - Parameter arguments: what follows the word `launch`.
  /// - Returns: the exit code.
  static func run(arguments: [String]) -> Int32 {
    do {
      let options = try LaunchOptions(arguments)
      if options.wantsHelp {
        print(LaunchOptions.help, terminator: "")
        return ExitCode.success
      }
      return try launch(options)
    } catch {
      LaunchTerminal.print("error: \(error)")
      return error.exitCode
    }
  }

  private static func launch(_ options: LaunchOptions) throws(UserError) -> Int32 {
    let variables = KernelFile.environment()
    if let size = variables["OMPI_COMM_WORLD_SIZE"].flatMap({ Int($0) }), size > 1 {
      throw UserError(
        .usage, at: "launch", "was itself started as one of \(size) ranks",
        fix: "start launch once, without mpirun")
    }
    guard try Command.check(options.command) else { return ExitCode.success }
    let program = try ownProgram()
    let (hosts, rankCount) = try options.placement { hosts throws(UserError) in
      try gpuCounts(hosts, options, program: program, variables: variables)
    }
    let isRemote = !hosts.hosts.allSatisfy { isThisMachine($0.name) }
    var scrubber = EnvironmentScrubber(variables)
    for warning in scrubber.warnings { LaunchTerminal.print(warning) }

    scrubber.set(ControlAddress.addressVariable, nil)
    scrubber.set(ControlAddress.tokenVariable, nil)
    let isAlone = rankCount == 1 && !isRemote
    let isTraining = options.command.first == "train"

    // A command that may read from the terminal, and needs nobody to watch over it.
    if isAlone && !isTraining && options.maxRestarts == 0 {
      let alone = ChildProcess(
        program: program, arguments: [program] + options.command,
        environment: scrubber.environment)
      if options.isVerbose { tellCommand(alone.arguments) }
      try alone.replaceThisProcess()
    }

    if !isRemote {
      let threads = CPUBudget.threadsPerRank(localWorldSize: rankCount, environment: variables)
      scrubber.set(CPUBudget.threadsVariable, "\(threads)")
    }
    // The backtrace of a rank that crashes takes seconds and can outlive the job.
    scrubber.set("SWIFT_BACKTRACE", "enable=no")
    scrubber.set(TerminalWidth.variable, TerminalWidth.askTerminal().map { "\($0)" })
    var job = LaunchSupervisor.Job(
      arguments: [], rankProgram: program, rankCount: rankCount, hosts: hosts,
      isVerbose: options.isVerbose, limits: options.limits, graceSeconds: options.graceSeconds,
      savesOnStop: isTraining)
    var mpirun: MPIRunCommand?
    if !isAlone {
      var command: MPIRunCommand
      (command, job.sweep) = try mpirunCommand(
        options, hosts: hosts, rankCount: rankCount, isRemote: isRemote, program: program,
        scrubber: &scrubber)
      command.userSettings = scrubber.settings
      command.forwardedNames =
        scrubber.forwardedNames + [
          ControlAddress.addressVariable, ControlAddress.tokenVariable,
        ]
      mpirun = command
    }
    if options.isVerbose {
      if let mpirun {
        LaunchTerminal.print(mpirun.shellText)
      } else {
        tellCommand([program] + options.command)
      }
    }
    let template = (job: job, mpirun: mpirun)
    var restarts = try JobRestarts(
      options: options, environment: scrubber.environment, isRemote: isRemote
    ) { command in
      var job = template.job
      job.arguments = [program] + command
      if var mpirun = template.mpirun {
        mpirun.command = command
        job.arguments = mpirun.arguments
      }
      return job
    }
    return try restarts.run()
  }

  /// How many GPUs each host has, for `--nproc auto`.
  private static func gpuCounts(
    _ hosts: [Hostfile.Host], _ options: LaunchOptions, program: String,
    variables: [String: String]
  ) throws(UserError) -> [Int] {
    guard options.hostfile != nil else {
      return [try GPUPlacement.count(ProgramEnvironment(variables))]
    }
    let environment = EnvironmentScrubber(variables).environment
    let shell = try RemoteShell(
      configuration: options.sshConfiguration, directory: Preflight.workingDirectory())
    let isRemote = hosts.contains { !isThisMachine($0.name) }
    return try HostGPUs(
      shell: shell,
      shellProgram: isRemote
        ? shellProgram(shell, path: environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin")
        : program,
      program: program, environment: environment
    ).counts(hosts)
  }

  private static func tellCommand(_ words: [String]) {
    LaunchTerminal.print("one rank on this machine: " + words.joined(separator: " "))
  }

  private static func mpirunCommand(
    _ options: LaunchOptions, hosts: Hostfile, rankCount: Int, isRemote: Bool, program: String,
    scrubber: inout EnvironmentScrubber
  ) throws(UserError) -> (MPIRunCommand, HostSweep?) {
    let path = scrubber.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    let installation = try MPIInstallation(path: path, environment: scrubber.environment)
    if let library = installation.library, scrubber.environment[Rendezvous.libraryVariable] == nil {
      scrubber.set(Rendezvous.libraryVariable, library)
    }
    var shell = try RemoteShell(
      configuration: options.sshConfiguration, directory: Preflight.workingDirectory())
    var sweep: HostSweep?
    if isRemote {
      shell.useSettings(scrubber.environment)
      if let interface = options.networkInterface {
        scrubber.set(NetworkInterface.variable, interface.text)
        for name in ["btl_tcp_if", "oob_tcp_if"] {
          scrubber.removeSetting("\(name)_include")
          scrubber.removeSetting("\(name)_exclude")
        }
      }
      let shellFile = try shellProgram(shell, path: path)
      sweep = HostSweep(
        hosts: hosts, program: program, shell: shell, shellProgram: shellFile,
        environment: scrubber.environment, leaseSeconds: options.leaseSeconds)
      let preflight = Preflight(
        options: options, hosts: hosts, rankCount: rankCount, program: program,
        installation: installation, shell: shell, shellProgram: shellFile,
        environment: scrubber.environment)
      if options.checksHosts { scrubber.set(InstructionSet.variable, try preflight.run()) }
    }
    var command = MPIRunCommand(
      mpirun: installation.mpirun, majorVersion: installation.majorVersion, hosts: hosts,
      rankCount: rankCount, isRemote: isRemote, isRoot: geteuid() == 0,
      usesCrossMemory: CrossMemory.isAllowed(), program: program, command: options.command)
    command.shellArguments = shell.setting
    command.networkInterface = options.networkInterface
    return (command, sweep)
  }

  /// Whether a host is the one where `launch` runs.
  static func isThisMachine(_ name: String) -> Bool {
    let own = KernelFile.firstLine("/proc/sys/kernel/hostname") ?? ""
    return Hostfile.isThisHost(
      name, hostName: own, addresses: NetworkInterface.ofThisHost().map(\.address))
  }

  private static func ownProgram() throws(UserError) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    guard count > 0 && count < buffer.count else {
      throw UserError(.system, at: "/proc/self/exe", "cannot read the program's own path")
    }
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func shellProgram(
    _ shell: RemoteShell, path: String
  ) throws(UserError) -> String {
    if shell.program.hasPrefix("/") { return shell.program }
    if let file = MPIInstallation.find(shell.program, path: path) { return file }
    throw UserError(
      .system, at: shell.program, "not found on PATH, but other hosts are reached with it",
      fix: "apt-get install openssh-client")
  }
}
