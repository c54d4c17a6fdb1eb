import DistributedTraining
import Testing

@Suite struct MPIRunCommandTests {
  private func command(
    version: Int = 4, isRemote: Bool = false, isRoot: Bool = false, usesCrossMemory: Bool = true
  ) -> MPIRunCommand {
    MPIRunCommand(
      mpirun: "/usr/bin/mpirun", majorVersion: version,
      hosts: Hostfile(hosts: [
        Hostfile.Host(name: isRemote ? "node-a" : "localhost", slots: 4),
        Hostfile.Host(name: "node-b", slots: 2),
      ]),
      rankCount: 6, isRemote: isRemote, isRoot: isRoot, usesCrossMemory: usesCrossMemory,
      program: "/opt/accelerate-swift", command: ["train", "--prompt", "it's {input}"])
  }

  @Test func localLine() {
    #expect(
      command(isRoot: true).shellText
        == "/usr/bin/mpirun --allow-run-as-root -n 6 -H localhost:4,node-b:2 --map-by slot "
        + "--bind-to none --mca mpi_yield_when_idle 1 --mca pml ob1 --mca btl self,vader,tcp "
        + "--mca plm isolated /opt/accelerate-swift train --prompt 'it'\\''s {input}'")
  }

  @Test func remoteLineWatchesTheConnections() {
    var remote = command(isRemote: true)
    remote.forwardedNames = ["ACCELERATE_X", "PATH"]
    let text = remote.shellText
    #expect(text.contains("--mca plm rsh"))
    #expect(text.contains("ConnectTimeout=5"))
    #expect(text.contains("BatchMode=yes"))
    #expect(text.contains("--mca oob_tcp_keepalive_time 5"))
    #expect(text.contains("-x ACCELERATE_X -x PATH /opt/accelerate-swift"))
    #expect(!text.contains("isolated"))
  }

  @Test func interfacesAreChosenOrLeftOut() throws {
    var line = command(isRemote: true)
    #expect(
      line.shellText.contains(
        "--mca btl_tcp_if_exclude lo,docker0 --mca oob_tcp_if_exclude lo,docker0"))
    line.userSettings = ["btl_tcp_if_include"]
    #expect(!line.shellText.contains("btl_tcp_if_"))
    line.userSettings = []
    line.networkInterface = try NetworkInterface("10.0.0.0/24")
    #expect(
      line.shellText.contains(
        "--mca btl_tcp_if_include 10.0.0.0/24 --mca oob_tcp_if_include 10.0.0.0/24"))
    #expect(!line.shellText.contains("_exclude"))
    #expect(!command().shellText.contains("_if_"))
  }

  @Test(arguments: [4, 5], [true, false])
  func noSettingIsRepeatedAndTheUsersWin(_ version: Int, _ isRemote: Bool) {
    var line = command(version: version, isRemote: isRemote, usesCrossMemory: false)
    func names() -> [String] {
      let words = line.arguments
      return words.indices.filter { words[$0].hasSuffix("mca") }.map { words[$0 + 1] }
    }
    #expect(Set(names()).count == names().count)
    #expect(names().contains("btl"))
    line.userSettings = ["btl", "pml"]
    #expect(!names().contains("btl") && !names().contains("pml"))
  }

  @Test func restrictedMemoryUsesTheQuietWay() {
    #expect(
      command(usesCrossMemory: false).shellText
        .contains("--mca btl_vader_single_copy_mechanism none"))
    #expect(command(version: 5, usesCrossMemory: false).shellText.contains("--mca smsc ^cma"))
  }

  @Test(arguments: [
    ("mpirun (Open MPI) 4.1.4\n\nReport bugs", 4), ("mpirun (Open MPI) 5.0.11\n", 5),
    ("mpirun.openmpi (Open MPI) 4.1.2", 4), ("HYDRA build details:\n Version: 4.0.2", nil),
    ("Intel(R) MPI Library for Linux* OS, Version 2021.9", nil), ("", nil),
  ])
  func versionOfMPIRun(_ text: String, _ expected: Int?) {
    #expect(MPIRunCommand.majorVersion(ofText: text) == expected)
  }
}
