import DistributedTraining
import Support
import Testing

@Suite struct MPIRunErrorsTests {
  private static let rule = String(repeating: "-", count: 74) + "\n"

  private static let exitMessage = """

    mpirun detected that one or more processes exited with non-zero status, thus causing
    the job to be terminated. The first process to do so was:

      Process name: [[31341,1],2]
      Exit code:    7

    """

  /// What is passed on when `text` arrives in chunks of `size` bytes.
  private func passed(_ text: String, size: Int) -> (text: String, errors: MPIRunErrors) {
    var errors = MPIRunErrors()
    var output: [UInt8] = []
    let bytes = Array(text.utf8)
    for start in stride(from: 0, to: bytes.count, by: size) {
      output += errors.feed(bytes[start..<min(start + size, bytes.count)])
    }
    output += errors.flush()
    return (String(decoding: output, as: UTF8.self), errors)
  }

  @Test(arguments: [1, 7, 100, 100_000])
  func messagesAreTakenOut(_ size: Int) {
    let text =
      "\rstep 5/10 -- 40%" + Self.rule
      + "Primary job  terminated normally, but 1 process returned\n"
      + Self.rule + Self.rule + Self.exitMessage + Self.rule
      + "[node-a:77] 3 more processes have sent help message help.txt / x\n[####] done\n"
    let (output, errors) = passed(text, size: size)
    #expect(output == "\rstep 5/10 -- 40%[####] done\n")
    #expect(errors.messages.count == 2)
    #expect(errors.messages.compactMap { JobEnd(message: $0) }.first?.rank == 2)
  }

  @Test func bytesPassAtOnce() {
    var errors = MPIRunErrors()
    #expect(errors.feed(Array("loss 1.2\rloss".utf8)) == Array("loss 1.2\rloss".utf8))
    #expect(!errors.isHolding)
  }

  @Test func textOfARankBetweenRulesIsKept() {
    let text = "a\n" + Self.rule + "layer  loss\n" + Self.rule + "b\n"
    #expect(passed(text, size: 10).text == text)
  }

  @Test func heldTextComesOutWhenNothingFollows() {
    var errors = MPIRunErrors()
    #expect(errors.feed(Array("[1/10] -".utf8)).isEmpty)
    #expect(errors.isHolding)
    #expect(errors.flush() == Array("[1/10] -".utf8))
    #expect(errors.feed(Array("- more\n".utf8)) == Array("- more\n".utf8))
  }

  @Test func theSameErrorOfSeveralRanksIsPassedOnce() {
    let text = """
      [rank 2] error: run.yaml:3: lr=-1
      [rank 0] error: run.yaml:3: lr=-1
      [rank 0]   fix: write lr: 1e-4
      [rank 2]   fix: write lr: 1e-4
      [rank 1] error: run.yaml:3: lr=-1
      [rank 1]   fix: write lr: 1e-4
      [rank 1] error: something else
      done

      """
    let (output, errors) = passed(text, size: 1000)
    #expect(
      output == """
        [rank 2] error: run.yaml:3: lr=-1
        [rank 2]   fix: write lr: 1e-4
        [rank 1] error: something else
        done

        """)
    #expect(errors.firstFailedRank == 2)
    #expect(errors.ranksOfFirstError == [0, 1, 2])
  }

  @Test func exitCodesOfBothVersionsAreRead() throws {
    let four = try #require(JobEnd(message: Self.exitMessage))
    #expect(four.rank == 2 && four.exitCode == 7 && four.launchExitCode == 7)
    #expect(four.text(rankCount: 4) == "rank 2 exited with code 7; the other ranks were stopped")
    let five = try #require(
      JobEnd(
        message: """
          prterun detected that one or more processes exited with non-zero status,
          thus causing the job to be terminated. The first process to do so was:

             Process name: [prterun-node-a-6123@1,11]
             Exit code:    3
          """))
    #expect(five.rank == 11 && five.exitCode == 3)
  }

  @Test func signalsNameTheHost() throws {
    let end = try #require(
      JobEnd(
        message:
          "mpirun noticed that process rank 2 with PID 0 on node node-b exited on signal 9 (Killed)."
      ))
    #expect(end.rank == 2 && end.host == "node-b" && end.launchExitCode == 137)
    #expect(
      end.text(rankCount: 4)
        == "rank 2 on node-b was ended by signal 9 (SIGKILL, often the kernel when memory runs out)"
        + "; the other ranks were stopped")
  }

  @Test func failuresOfHostsAreTold() {
    let hosts = Hostfile(hosts: [
      Hostfile.Host(name: "node-a", slots: 1), Hostfile.Host(name: "node-b", slots: 1),
    ])
    let lost = LaunchFailure.error(
      message: """
        ORTE has lost communication with a remote daemon.

          HNP daemon   : [[2719,0],0] on node node-a
          Remote daemon: [[2719,0],1] on node node-b
        """, hosts: hosts)
    #expect(
      lost?.description == """
        node-b: the connection to this host was lost; all ranks were stopped
          fix: see whether the host is up and its network works, then run again
        """)
    let unreachable = LaunchFailure.error(
      message: "ORTE was unable to reliably start one or more daemons.\nThis", hosts: hosts)
    #expect(
      unreachable?.description == """
        Open MPI could not be started on every host of node-a, node-b
          fix: try each: ssh -o BatchMode=yes node-b mpirun --version
        """)
    let missing = LaunchFailure.error(
      message: "could not access\nor execute an executable:\n\nExecutable: /x\nNode: node-b\n",
      hosts: hosts)
    #expect(missing?.description.hasPrefix("node-b: cannot run /x there") == true)
    #expect(LaunchFailure.error(message: "something else", hosts: hosts) == nil)
  }

  @Test func otherMessagesNameNoRank() {
    #expect(JobEnd(message: "There are not enough slots available in the system") == nil)
    #expect(JobEnd(message: "") == nil)
    #expect(
      JobEnd(rank: nil, status: 139).text(rankCount: 2).hasPrefix("a rank was ended by signal"))
  }
}
