package import Support

/// Decides from the reports of all hosts whether a job can start there.
package struct HostCheck: Sendable {
  package typealias Answer = (host: String, report: Result<HostReport, UserError>)

  /// Of the program that asks; every host must have the same one.
  package var own: HostReport
  package var request: HostRequest
  /// This program's file, the same path on all hosts.
  package var program: String
  /// Open MPI's, of the program that asks.
  package var mpiMajorVersion: Int
  /// Whether the base is stored in 4 bits.
  package var isQuantized = false
  package var interface: NetworkInterface?

  package init(
    own: HostReport, request: HostRequest, program: String, mpiMajorVersion: Int,
    isQuantized: Bool = false, interface: NetworkInterface? = nil
  ) {
    self.own = own
    self.request = request
    self.program = program
    self.mpiMajorVersion = mpiMajorVersion
    self.isQuantized = isQuantized
    self.interface = interface
  }

  /// All problems of all hosts as one error; nil when there are none.
  package func error(_ answers: [Answer]) -> UserError? {
    let blocks = problems(answers).map { host, problems in
      "\(host):\n"
        + problems.map { problem in
          let lines = problem.description.split(separator: "\n")
          return "  - " + lines.joined(separator: "\n  ")
        }.joined(separator: "\n")
    }
    guard !blocks.isEmpty else { return nil }
    let count =
      answers.count == 1
      ? "the host is" : "\(blocks.count) of \(answers.count) hosts \(blocks.count == 1 ? "is" : "are")"
    return UserError(
      .usage, "\(count) not ready; nothing was started\n" + blocks.joined(separator: "\n"))
  }

  /// The hosts that are not ready, each with all that is wrong there.
  package func problems(_ answers: [Answer]) -> [(host: String, problems: [UserError])] {
    let references = references(answers)
    let libraries = Set(answers.compactMap { try? $0.report.get().computeLibrary })
    return answers.compactMap { host, answer in
      switch answer {
      case .failure(let error): return (host, [error])
      case .success(let report):
        var problems = programProblems(report)
        if libraries.count > 1 {
          problems.append(
            UserError(
              .usage, at: report.computeLibrary,
              "the hosts have \(libraries.sorted().joined(separator: " and ")), which round "
                + "differently",
              fix: "install the same version on all hosts"))
        }
        problems += machineProblems(report)
        for (index, item) in request.paths.enumerated() where index < report.files.count {
          problems += fileProblems(report.files[index], item, references[index])
        }
        if let problem = memoryProblem(report) { problems.append(problem) }
        return problems.isEmpty ? nil : (host, problems)
      }
    }
  }

  private func programProblems(_ report: HostReport) -> [UserError] {
    guard report.programDigest != own.programDigest else { return [] }
    let versions =
      report.programVersion == own.programVersion
      ? "both say version \(own.programVersion)"
      : "version \(report.programVersion) there, \(own.programVersion) here"
    return [
      UserError(
        .usage, at: program,
        "another program than here (\(versions); SHA-256 \(report.programDigest.prefix(12))... "
          + "there, \(own.programDigest.prefix(12))... here)",
        fix: "copy this host's file there")
    ]
  }

  private func machineProblems(_ report: HostReport) -> [UserError] {
    var problems: [UserError] = []
    if report.mpiMajorVersion != mpiMajorVersion {
      let found = report.mpiMajorVersion.map { "is Open MPI \($0)" } ?? "is not there"
      problems.append(
        UserError(
          .usage, at: request.mpirun, "\(found), but this host runs Open MPI \(mpiMajorVersion)",
          fix: "install Open MPI \(mpiMajorVersion) under the same path on every host"))
    }
    if let interface {
      let pairs = report.interfaces.map { line in
        let words = line.split(separator: " ").map { String($0) }
        return (name: words.first ?? "", address: words.last ?? "")
      }
      if !interface.matches(pairs) {
        problems.append(
          UserError(
            .usage, at: "--network-interface \(interface.text)",
            "this host has only \(report.interfaces.joined(separator: ", "))",
            fix: "name an interface or a network that every host has"))
      }
    }
    return problems
  }

  private func fileProblems(
    _ file: Result<SharedFiles?, UserError>, _ item: HostRequest.Path,
    _ reference: (host: String, fingerprint: String)?
  ) -> [UserError] {
    let place = "\(item.flag) \(item.path)"
    switch file {
    case .failure(let error): return [error]
    case .success(nil):
      return [
        UserError(
          .usage, at: place, "does not exist there",
          fix: "copy it there under the same path, or use a directory that all hosts share")
      ]
    case .success(let shared?):
      guard let reference, reference.fingerprint != shared.fingerprint else { return [] }
      return [
        UserError(
          .usage, at: place, "differs from that of \(reference.host)",
          fix: "copy it again, so that all hosts have the same files")
      ]
    }
  }

  /// What the first host that has a file says of it.
  private func references(_ answers: [Answer]) -> [(host: String, fingerprint: String)?] {
    request.paths.indices.map { index in
      for (host, answer) in answers {
        guard let report = try? answer.get(), index < report.files.count,
          let shared = try? report.files[index].get()
        else { continue }
        return (host, shared.fingerprint)
      }
      return nil
    }
  }

  /// The bytes that a host needs at the very least: the base once, as it is stored.
  ///
  /// Scales, adapters, activations and the program itself come on top, so a job that passes may
  /// still be too large; one that does not pass cannot run.
  package static func minimumByteCount(_ files: SharedFiles, isQuantized: Bool) -> Int {
    isQuantized ? files.elementCount / 2 : files.tensorByteCount
  }

  private func memoryProblem(_ report: HostReport) -> UserError? {
    guard let index = request.paths.firstIndex(where: { $0.flag == "--model" }),
      index < report.files.count, let files = try? report.files[index].get()
    else { return nil }
    let needed = Self.minimumByteCount(files, isQuantized: isQuantized)
    guard needed > report.availableByteCount else { return nil }
    let (need, have) = (Self.megabytes(needed), Self.megabytes(report.availableByteCount))
    return UserError(
      .usage, at: "memory", "the base alone takes \(need) MB, but \(have) MB are free there",
      fix: isQuantized
        ? "end what else runs there, or use a host with more memory"
        : "add --quant nf4, end what else runs there, or use a host with more memory")
  }

  private static func megabytes(_ byteCount: Int) -> Int { (byteCount + 999_999) / 1_000_000 }
}
