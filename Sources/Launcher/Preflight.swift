import DistributedTraining
import Glibc
import Support

/// The look at every host before `launch` starts anything.
struct Preflight {
  /// A host that has not answered by then is reported as not answering.
  private static let seconds = 30.0

  var options: LaunchOptions
  var hosts: Hostfile
  var rankCount: Int
  /// This program's file, the same path on all hosts.
  var program: String
  var installation: MPIInstallation
  var shell: RemoteShell
  /// The file of the remote shell.
  var shellProgram: String
  /// What the remote shell is started with.
  var environment: [String: String]

  /// Asks all hosts at the same time.
  ///
  /// - Returns: the value of ``InstructionSet/variable`` that makes all hosts compute the same
  ///   bits; nil when they do so anyway and the level has no name.
  /// - Throws: one ``UserError`` with every problem of every host.
  func run() throws(UserError) -> String? {
    let needs = try Command.needs(options.command, directory: Self.workingDirectory())
    let request = HostRequest(mpirun: installation.mpirun, paths: needs.paths)
    let answers = try ask(request)
    let own = try HostReport(answering: HostRequest(mpirun: installation.mpirun, paths: []))
    var check = HostCheck(
      own: own, request: request, program: program, mpiMajorVersion: installation.majorVersion,
      isQuantized: needs.isQuantized, interface: options.networkInterface)
    if needs.isDivided {
      for rank in 0..<rankCount {
        guard let host = hosts.host(ofRank: rank) else { break }
        check.baseShares[host, default: 0] += 1 / Double(rankCount)
      }
    }
    if let error = check.error(answers) { throw error }
    return try instructionSetting(answers, own)
  }

  /// The current directory, where relative paths begin.
  static func workingDirectory() -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/cwd", &buffer, buffer.count)
    let bytes = buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }
    return bytes.isEmpty ? "/" : String(decoding: bytes, as: UTF8.self)
  }

  private func ask(_ request: HostRequest) throws(UserError) -> [HostCheck.Answer] {
    let words = [program, HiddenCommands.hostReport]
    let children = hosts.hosts.map { host in
      LaunchCommand.isThisMachine(host.name)
        ? ChildProcess(program: program, arguments: words, environment: environment)
        : ChildProcess(
          program: shellProgram,
          arguments: [shellProgram] + shell.arguments(running: words, on: host.name),
          environment: environment)
    }
    let endings = try HostProbe.run(
      children, input: request.json.compactText, seconds: Self.seconds)
    return zip(hosts.hosts, endings).map { host, ending in
      if ending.exitCode == 0, let report = HostReport(output: ending.output) {
        return (host.name, .success(report))
      }
      return (host.name, .failure(failure(ending, host.name)))
    }
  }

  private func failure(_ ending: HostProbe.Ending, _ host: String) -> UserError {
    let words = Self.lastLine(ending.errors)
    func contains(_ text: String) -> Bool { ending.errors.contains(text) }
    if ending.isTimedOut {
      return UserError(
        .usage, "gave no answer within \(Int(Self.seconds)) seconds",
        fix: "see whether the host is overloaded or its file system hangs")
    }
    switch ending.exitCode {
    case 126, 127:
      let fix =
        contains("shared libraries")
        ? "install the libraries that the program needs there, too"
        : "copy the program there under the same path"
      return UserError(.usage, at: program, "does not run there: \(words)", fix: fix)
    case 255:
      let test = "ssh -o BatchMode=yes \(host) true"
      let fix: String
      if contains("resolve hostname") {
        fix = "see how the host's name is written in \(options.hostfile ?? "the hostfile")"
      } else if contains("Permission denied") {
        fix = "make a login without a password possible: ssh-copy-id \(host); try: \(test)"
      } else if contains("Host key verification failed") {
        fix = "log in once by hand and compare the key: ssh \(host)"
      } else {
        fix = "see whether the host is up and its sshd runs; try: \(test)"
      }
      return UserError(.usage, "cannot be reached: \(words)", fix: fix)
    default:
      return UserError(
        .usage, at: program,
        "gave no report (code \(ending.exitCode))" + (words.isEmpty ? "" : ": \(words)"),
        fix: "try: ssh -o BatchMode=yes \(host) \(RemoteShell.quoted(program)) --version")
    }
  }

  /// The last words of a host, without anything a terminal would act on.
  private static func lastLine(_ text: String) -> String {
    plain(text.split(whereSeparator: \.isNewline).last ?? "")
  }

  /// Its first words, likewise.
  static func firstLine(_ text: String) -> String {
    plain(text.split(whereSeparator: \.isNewline).first ?? "")
  }

  private static func plain(_ line: Substring) -> String {
    let plain = line.unicodeScalars.filter { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) }
    return String(String.UnicodeScalarView(plain.prefix(200)))
  }

  private func instructionSetting(
    _ answers: [HostCheck.Answer], _ own: HostReport
  ) throws(UserError) -> String? {
    var levels: [String] = []
    for (_, answer) in answers {
      if case .success(let report) = answer { levels.append(report.instructionSet) }
    }
    // The user may have set a limit, which other hosts do not know of.
    if environment[InstructionSet.variable] != nil { levels.append(own.instructionSet) }
    guard let common = InstructionSet.common(levels) else {
      throw UserError(
        .usage,
        "the hosts' processors differ (\(Set(levels).sorted().joined(separator: ", "))) and oneDNN "
          + "cannot be made to use the same instructions on all",
        fix: "use hosts of one kind")
    }
    let isLimited = levels.contains { $0 != common }
    LaunchTerminal.print(
      "\(hosts.hosts.count) hosts are ready: accelerate-swift \(programVersion), "
        + "\(own.computeLibrary) "
        + (isLimited ? "limited to \(common), which all have" : "with \(common)"))
    return InstructionSet.setting(common)
  }
}
