import DistributedTraining
import Support
import Testing

@Suite struct LaunchOptionsTests {
  @Test func flagsEndAtTheCommand() throws {
    let options = try LaunchOptions(
      ["--nproc", "4", "--hostfile=hosts", "--verbose", "train", "--nproc", "7", "--help"])
    #expect(options.nproc == 4)
    #expect(options.hostfile == "hosts")
    #expect(options.isVerbose && !options.wantsHelp)
    #expect(options.command == ["train", "--nproc", "7", "--help"])
  }

  @Test func helpNeedsNoCommand() throws {
    #expect(try LaunchOptions(["--help"]).wantsHelp)
    #expect(LaunchOptions.help.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  @Test(arguments: [
    (["--nproc", "0", "train"], "--nproc: \"0\" is not a number of ranks from 1 to 65536"),
    (["--nproc", "four", "train"], "--nproc: \"four\" is not a number of ranks from 1 to 65536"),
    (["--nproc"], "--nproc: a value is missing"),
    (["--lr", "1", "train"], "--lr: launch has no such flag"),
    (["--verbose=yes", "train"], "--verbose=yes: launch has no such flag"),
    (["--nproc", "2"], "launch: no command to run"),
    (["launch", "train"], "launch: launch cannot run itself"),
  ])
  func errorsNameTheFlag(_ arguments: [String], _ expected: String) {
    let error = #expect(throws: UserError.self) { try LaunchOptions(arguments) }
    #expect(error?.description.split(separator: "\n").first.map { String($0) } == expected)
  }

  @Test func rankCountComesFromFlagOrHostfile() throws {
    let path = "/tmp/accelerate-swift-test-hosts-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.write(Array("node-a slots=2\nnode-b slots=3\n".utf8), to: path)
    defer { try? FileSystem.remove(path) }
    #expect(try LaunchOptions(["train"]).placement(gpuCounts: Self.noGPUs).rankCount == 1)
    #expect(
      try LaunchOptions(["--nproc", "3", "train"]).placement(gpuCounts: Self.noGPUs).rankCount == 3)
    #expect(
      try LaunchOptions(["--hostfile", path, "train"]).placement(gpuCounts: Self.noGPUs).rankCount
        == 5)
    let fitting = try LaunchOptions(["--hostfile", path, "--nproc", "4", "train"]).placement(
      gpuCounts: Self.noGPUs)
    #expect(fitting.rankCount == 4 && fitting.hosts.hosts.count == 2)
    let error = #expect(throws: UserError.self) {
      try LaunchOptions(["--hostfile", path, "--nproc", "6", "train"]).placement(
        gpuCounts: Self.noGPUs)
    }
    #expect(
      error?.description == """
        --nproc 6: \(path) has 5 slots on 2 hosts.
          fix: ask for at most 5 ranks, or raise slots=N in the file.
        """)
  }

  private static func noGPUs(_ hosts: [Hostfile.Host]) throws(UserError) -> [Int] {
    throw UserError(.system, "nobody was to be asked")
  }

  @Test func oneRankForEachGPU() throws {
    let here = try LaunchOptions(["--nproc", "auto", "train"]).placement { hosts in
      #expect(hosts.map(\.name) == ["localhost"])
      return [4]
    }
    #expect(here.rankCount == 4 && here.hosts.hosts[0].slots == 4)
    let path = "/tmp/accelerate-swift-test-hosts-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.write(Array("node-a slots=2\nnode-b\n".utf8), to: path)
    defer { try? FileSystem.remove(path) }
    let two = try LaunchOptions(["--hostfile", path, "--nproc=auto", "train"]).placement { hosts in
      #expect(hosts.map(\.name) == ["node-a", "node-b"])
      return [8, 4]
    }
    #expect(two.rankCount == 12)
    #expect(two.hosts.host(ofRank: 7) == "node-a" && two.hosts.host(ofRank: 8) == "node-b")
    // The last one counts.
    #expect(try LaunchOptions(["--nproc", "auto", "--nproc", "3", "train"]).nproc == 3)
    #expect(try !LaunchOptions(["--nproc", "auto", "--nproc", "3", "train"]).isOnePerGPU)
  }

  @Test func flagsForSeveralHosts() throws {
    let options = try LaunchOptions([
      "--hostfile", "h", "--network-interface=eth0", "--ssh-config", "c", "--no-preflight", "train",
    ])
    #expect(try options.networkInterface == NetworkInterface("eth0"))
    #expect(options.sshConfiguration == "c")
    #expect(!options.checksHosts)
    #expect(try LaunchOptions(["train"]).checksHosts)
    #expect(throws: UserError.self) { try LaunchOptions(["--network-interface", "-x", "train"]) }
    #expect(throws: UserError.self) { try LaunchOptions(["--no-preflight=1", "train"]) }
  }
}
