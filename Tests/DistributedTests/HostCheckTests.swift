import DistributedTraining
import Support
import Testing

@Suite struct HostCheckTests {
  private static let request = HostRequest(
    mpirun: "/usr/bin/mpirun",
    paths: [
      HostRequest.Path(flag: "--model", path: "/m"), HostRequest.Path(flag: "--data", path: "/d"),
    ])

  private static let model = SharedFiles(
    fingerprint: "m", tensorByteCount: 8_000_000, elementCount: 4_000_000)

  private func report(
    _ name: String, digest: String = "aaaa", model: SharedFiles? = Self.model
  ) -> HostReport {
    HostReport(
      hostName: name,
      programVersion: "1.0.0", programDigest: digest, computeLibrary: "oneDNN 2.6.3",
      instructionSet: "avx2", coreCount: 4, availableByteCount: 4_000_000, mpiMajorVersion: 4,
      interfaces: ["lo 127.0.0.1", "eth0 10.0.0.7"],
      files: [.success(model), .success(SharedFiles(fingerprint: "d"))])
  }

  private func check(isQuantized: Bool = true, interface: NetworkInterface? = nil) -> HostCheck {
    HostCheck(
      own: report("a"), request: Self.request, program: "/p", mpiMajorVersion: 4,
      isQuantized: isQuantized, interface: interface)
  }

  @Test func readyHostsHaveNoProblem() throws {
    let answers: [HostCheck.Answer] = [("a", .success(report("a"))), ("b", .success(report("b")))]
    #expect(check().error(answers) == nil)
    let network = try NetworkInterface("10.0.0.0/24")
    #expect(check(interface: network).error(answers) == nil)
  }

  @Test func allProblemsOfAllHostsAreTold() {
    var old = report("b", digest: "bbbb", model: nil)
    old.programVersion = "0.9.0"
    old.mpiMajorVersion = 5
    var other = report(
      "c",
      model: SharedFiles(fingerprint: "x", tensorByteCount: 8_000_000, elementCount: 40_000_000))
    other.mpiMajorVersion = nil
    let error = check().error([
      ("a", .success(report("a"))), ("b", .success(old)), ("c", .success(other)),
      ("d", .failure(UserError(.usage, "cannot be reached: timed out", fix: "try: ssh d"))),
    ])
    #expect(error?.exitCode == ExitCode.usage)
    #expect(
      error?.description == """
        3 of 4 hosts are not ready; nothing was started
        b:
          - /p: another program than here (version 0.9.0 there, 1.0.0 here; SHA-256 bbbb... there, \
        aaaa... here)
            fix: copy this host's file there
          - /usr/bin/mpirun: is Open MPI 5, but this host runs Open MPI 4
            fix: install Open MPI 4 under the same path on every host
          - --model /m: does not exist there
            fix: copy it there under the same path, or use a directory that all hosts share
        c:
          - /usr/bin/mpirun: is not there, but this host runs Open MPI 4
            fix: install Open MPI 4 under the same path on every host
          - --model /m: differs from that of a
            fix: copy it again, so that all hosts have the same files
          - memory: its part of the base takes 20 MB, but 4 MB are free there
            fix: end what else runs there, or use a host with more memory
        d:
          - cannot be reached: timed out
            fix: try: ssh d
        """)
  }

  @Test func memoryIsThatOfTheBaseAsItIsStored() {
    let answers: [HostCheck.Answer] = [("a", .success(report("a")))]
    #expect(check(isQuantized: true).error(answers) == nil)
    let error = check(isQuantized: false).error(answers)
    #expect(error?.description.hasPrefix("1 of 1 hosts is not ready") == true)
    #expect(
      error?.description.contains("its part of the base takes 8 MB, but 4 MB are free") == true)
    #expect(error?.description.contains("--quant nf4") == true)
  }

  @Test func aDividedBaseNeedsLess() {
    var check = check(isQuantized: false)
    check.baseShares = ["a": 0.25, "b": 0.75]
    let error = check.error([("a", .success(report("a"))), ("b", .success(report("b")))])
    #expect(error?.description.contains("takes 6 MB, but 4 MB are free") == true)
    #expect(error?.description.contains("\na:") == false)
  }

  @Test func oneMachineUnderTwoNamesIsTold() {
    let error = check().error([("a", .success(report("a"))), ("10.0.0.7", .success(report("a")))])
    #expect(error?.description.contains("10.0.0.7:\n  - is the same machine as a\n") == true)
  }

  @Test func librariesThatRoundDifferentlyAreRefused() {
    var other = report("b")
    other.computeLibrary = "oneDNN 3.1.0"
    let error = check().error([("a", .success(report("a"))), ("b", .success(other))])
    #expect(error?.description.contains("oneDNN 2.6.3 and oneDNN 3.1.0") == true)
  }

  @Test func aMissingInterfaceIsTold() throws {
    let error = check(interface: try NetworkInterface("ib0")).error([("a", .success(report("a")))])
    #expect(
      error?.description.contains(
        "--network-interface ib0: this host has only lo 127.0.0.1, eth0 10.0.0.7") == true)
  }

  @Test func reportsAndRequestsTravelAsText() throws {
    var sent = report("a")
    sent.files.append(.success(nil))
    sent.files.append(.failure(UserError(.badInput, at: "/d", "not a regular file")))
    sent.mpiMajorVersion = nil
    let received = try #require(HostReport(output: "Welcome!\n\(sent.line)\nbye\n"))
    sent.files[3] = .failure(UserError(.badInput, "/d: not a regular file"))
    #expect(received.line == sent.line)
    #expect(HostReport(output: "Welcome!\n") == nil)
    #expect(HostReport(output: HostReport.mark + "{}") == nil)
    #expect(HostRequest(Self.request.json) == Self.request)
    #expect(HostRequest(.string("x")) == nil)
  }
}

@Suite struct InstructionSetTests {
  @Test(arguments: [
    (["avx2"], "avx2"), (["avx512_core_amx", "avx512_core"], "avx512_core"),
    (["avx512_core", "avx512_core_amx", "avx512_core_bf16"], "avx512_core"),
    (["avx2_vnni", "avx512_core_vnni"], "avx2"), (["other", "other"], "other"),
    (["sse41", "avx512_core_amx_fp16"], "sse41"),
  ])
  func theHighestThatAllHave(_ levels: [String], _ expected: String) {
    #expect(InstructionSet.common(levels) == expected)
    #expect(InstructionSet.common(levels.reversed()) == expected)
  }

  @Test func unknownLevelsMatchOnlyThemselves() {
    #expect(InstructionSet.common(["other", "avx2"]) == nil)
    #expect(InstructionSet.common([]) == nil)
    #expect(InstructionSet.setting("other") == nil)
    #expect(InstructionSet.setting("avx512_core_bf16") == "AVX512_CORE_BF16")
  }
}

@Suite struct NetworkInterfaceTests {
  @Test(arguments: ["eth0", "enp3s0f1", "bond0.12", "br-lan", "ib0", "10.0.0.0/24", "10.1.2.3/32"])
  func acceptsInterfacesAndNetworks(_ text: String) throws {
    #expect(try NetworkInterface(text).text == text)
  }

  @Test(arguments: [
    "", "-x", "eth0;id", "$(id)", "`id`", "eth0,eth1", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33",
    "10.0.0/24", "10.0.0.256/24", "10.0.0.0/0", "0eth", "a-name-that-is-too-long", "\u{e9}th0",
    "10.0.0.+1/24", "/24", "fe80::/64", "eth0 ",
  ])
  func refusesEverythingElse(_ text: String) {
    let error = #expect(throws: UserError.self) { try NetworkInterface(text) }
    #expect(error?.description.contains("--network-interface") == true)
  }

  @Test func networksMatchAddresses() throws {
    let here = [(name: "eth0", address: "10.0.1.7")]
    #expect(try NetworkInterface("10.0.0.0/16").matches(here))
    #expect(try !NetworkInterface("10.0.0.0/24").matches(here))
    #expect(try NetworkInterface("10.0.1.7/32").matches(here))
    #expect(try NetworkInterface("eth0").matches(here))
    #expect(try !NetworkInterface("eth").matches(here))
    #expect(NetworkInterface.ofThisHost().contains { $0.address == "127.0.0.1" })
  }

  @Test func ncclIsToldTheChosenInterface() {
    let here = [(name: "lo", address: "127.0.0.1"), (name: "ib0", address: "10.1.0.7")]
    func setting(_ variables: [String: String]) -> String? {
      NetworkInterface.ncclSetting(variables, here)
    }
    #expect(setting([NetworkInterface.variable: "ib0"]) == "=ib0")
    #expect(setting([NetworkInterface.variable: "10.1.0.0/16"]) == "=ib0")
    #expect(setting([NetworkInterface.variable: "eth7"]) == nil)
    #expect(setting([NetworkInterface.variable: "ib0", "NCCL_SOCKET_IFNAME": "eth0"]) == nil)
    #expect(setting([:]) == nil)
  }
}

@Suite struct RemoteShellTests {
  @Test func wordsAreQuoted() throws {
    let shell = try RemoteShell()
    let words = shell.arguments(running: ["/opt/it's here/$(id)", "_host-report"], on: "node-b")
    #expect(words.contains("BatchMode=yes") && words.contains("ConnectTimeout=5"))
    #expect(words.suffix(2) == ["node-b", #"exec '/opt/it'\''s here/$(id)' '_host-report'"#])
  }

  @Test func theUsersSettingsAreTakenOver() throws {
    var shell = try RemoteShell()
    shell.useSettings(["OMPI_MCA_plm_rsh_agent": "/opt/bin/rsh", "OMPI_MCA_plm_rsh_args": "-v"])
    #expect(shell.program == "/opt/bin/rsh")
    #expect(shell.setting == "-v")
  }

  @Test func configurationFiles() throws {
    #expect(throws: UserError.self) { try RemoteShell(configuration: "/nonexistent/config") }
    #expect(throws: UserError.self) { try RemoteShell(configuration: "/tmp/a b") }
    #expect(throws: UserError.self) { try RemoteShell(configuration: "/etc/\"; id") }
    let shell = try RemoteShell(configuration: "hostname", directory: "/etc")
    #expect(shell.setting.hasPrefix("-F /etc/hostname -o ConnectTimeout=5"))
  }
}
