import DistributedTraining
import Glibc
import Support
import Testing

/// Ranks that are killed, stopped and hung while they run: named in time, and nothing is left.
@Suite(.serialized, .timeLimit(.minutes(3))) struct FaultTests {
  /// A job whose ranks wait in a barrier for rank 2, which sleeps.
  private func waitingJob(_ flags: [String] = []) throws -> (job: JobRun, rank: Int32) {
    let job = try JobRun(
      ["launch", "--nproc", "4"] + flags + [
        "_rank-test", "barrier", "step=3", "0:say=ready", "2:sleep=50", "barrier",
      ])
    #expect(job.waitUntil { job.text.contains("ready") && job.rank(2) != nil })
    // The ranks tell what they do every half second.
    usleep(700_000)
    return (job, try #require(job.rank(2)))
  }

  private func expectNothingLeft(_ job: JobRun) {
    #expect(job.waitUntil(seconds: 3) { job.members.isEmpty }, "left: \(job.members)")
  }

  @Test func aKilledRankIsNamedWithinFiveSeconds() throws {
    let (job, rank) = try waitingJob()
    let start = SteadyClock.seconds()
    kill(rank, SIGKILL)
    #expect(job.wait() == 137)
    #expect(SteadyClock.seconds() - start < 5)
    #expect(job.text.contains("(pid \(rank)) was ended by signal 9 (SIGKILL"), "\(job.text)")
    #expect(job.text.contains("in phase step, step 3"))
    expectNothingLeft(job)
  }

  @Test func aStoppedRankIsNamedWithinFiveSeconds() throws {
    let (job, rank) = try waitingJob()
    let start = SteadyClock.seconds()
    kill(rank, SIGSTOP)
    #expect(job.waitUntil(seconds: 10) { job.text.contains("error: ") })
    #expect(SteadyClock.seconds() - start < 5)
    #expect(job.wait() == ExitCode.supervised)
    #expect(SteadyClock.seconds() - start < 10)
    #expect(job.text.contains("error: rank 2 on "))
    #expect(job.text.contains("(pid \(rank)) has been silent for "))
    expectNothingLeft(job)
  }

  @Test(arguments: ["2:hang", "2:sleep=60"])
  func aRankThatIsBehindIsNamedAndNotThoseThatWait(_ word: String) throws {
    let start = SteadyClock.seconds()
    let job = try JobRun([
      "launch", "--nproc", "4", "--timeout-seconds", "60,step=3", "_rank-test", "barrier",
      "step=7", word, "barrier",
    ])
    #expect(job.wait() == ExitCode.supervised)
    #expect(SteadyClock.seconds() - start < 15)
    #expect(job.text.contains("error: rank 2 on "), "\(job.text)")
    #expect(job.text.contains("has made no progress for 3"))
    #expect(job.text.contains("in phase step, step 7; 3 others wait for it"))
    expectNothingLeft(job)
  }

  /// A rank that asks for base weights for ever moves, but its step does not end.
  @Test func aRankThatGoesRoundInCirclesIsNamed() throws {
    let start = SteadyClock.seconds()
    let job = try JobRun([
      "launch", "--nproc", "3", "--timeout-seconds", "60,step=3", "_rank-test", "step=1", "barrier",
      "step=2", "1:circle", "barrier",
    ])
    #expect(job.wait() == ExitCode.supervised)
    #expect(SteadyClock.seconds() - start < 20)
    #expect(job.text.contains("error: rank 1 on "), "\(job.text)")
    #expect(job.text.contains("has not come to an end for 3"))
    #expect(job.text.contains("in phase step, step 2; 2 others wait for it"))
    expectNothingLeft(job)
  }

  @Test func ranksThatHearNothingForTheLeaseEnd() throws {
    let (job, _) = try waitingJob(["--lease-seconds", "4"])
    kill(job.process, SIGSTOP)
    sleep(2)
    #expect((0..<4).allSatisfy { job.rank($0) != nil })
    #expect(job.waitUntil(seconds: 10) { (0..<4).allSatisfy { job.rank($0) == nil } })
    kill(job.process, SIGCONT)
    #expect(job.wait() == ExitCode.leaseExpired, "\(job.text)")
    #expect(job.text.contains("nothing was heard from the launcher for 4 s"), "\(job.text)")
    expectNothingLeft(job)
  }

  @Test func ranksEndWhenTheirLauncherIsKilled() throws {
    let (job, _) = try waitingJob()
    kill(job.process, SIGKILL)
    #expect(job.wait() == 137)
    #expect(job.waitUntil(seconds: 10) { job.members.isEmpty })
  }

  /// Ranks whose mpirun cannot end them any more, as on a host that is cut off.
  @Test func ranksEndWhenLauncherAndMPIRunCannotTellThem() throws {
    let (job, _) = try waitingJob()
    let mpirun = try #require(
      job.members.first { (KernelFile.firstLine("/proc/\($0)/comm") ?? "").hasPrefix("mpirun") })
    kill(mpirun, SIGSTOP)
    kill(job.process, SIGKILL)
    #expect(job.wait() == 137)
    #expect(job.waitUntil(seconds: 10) { (0..<4).allSatisfy { job.rank($0) == nil } })
    kill(mpirun, SIGKILL)
    kill(mpirun, SIGCONT)
    expectNothingLeft(job)
  }

  @Test func aLauncherMayBeStoppedForAWhile() throws {
    let training = Training()
    defer { training.remove() }
    let job = try JobRun(training.arguments())
    #expect(job.waitUntil { training.step >= 3 })
    kill(job.process, SIGSTOP)
    sleep(10)
    kill(job.process, SIGCONT)
    #expect(job.wait() == 0, "\(job.text)")
    #expect(training.adapter == Training.undisturbed)
  }

  /// Wrong secrets, garbage, long lines and silence on the control port change nothing.
  @Test func strangersOnThePortAreIgnored() throws {
    let (job, rank) = try waitingJob()
    let address = try #require(controlAddress(ofRank: rank))
    let wrong = ControlAddress.makeToken()
    var strangers: [Int32] = []
    for number in 0..<400 {
      guard let stranger = connect(port: address.port) else { continue }
      strangers.append(stranger)
      let text: String =
        switch number % 4 {
        case 0: "hello 1 \(wrong) 2 1 localhost\n"
        case 1: String(repeating: "x", count: 10_000)
        case 2: "done 0\nend\n\u{0}\n"
        default: ""
        }
      let bytes = Array(text.utf8)
      _ = unsafe send(stranger, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }
    #expect(strangers.count > 200)
    sleep(5)
    #expect(job.members.contains(rank))
    #expect(!job.text.contains("error"))
    for stranger in strangers { close(stranger) }
    kill(rank, SIGKILL)
    #expect(job.wait() == 137)
    expectNothingLeft(job)
  }

  @Test func theSecretIsInNoCommandLine() throws {
    let (job, rank) = try waitingJob()
    let token = try #require(controlAddress(ofRank: rank)).token
    #expect(token.count == 64)
    for member in job.members {
      let words = String(decoding: KernelFile.read("/proc/\(member)/cmdline") ?? [], as: UTF8.self)
      #expect(!words.contains(token))
    }
    kill(job.process, SIGTERM)
    #expect(job.wait() == 128 + SIGTERM)
    expectNothingLeft(job)
  }

  private func controlAddress(ofRank process: Int32) -> ControlAddress? {
    var variables: [String: String] = [:]
    for entry in (KernelFile.read("/proc/\(process)/environ") ?? []).split(separator: 0) {
      let parts = String(decoding: entry, as: UTF8.self).split(separator: "=", maxSplits: 1)
      if parts.count == 2 { variables[String(parts[0])] = String(parts[1]) }
    }
    return ControlAddress(variables)
  }

  private func connect(port: UInt16) -> Int32? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    unsafe inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
    let code = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if code == 0 { return descriptor }
    close(descriptor)
    return nil
  }
}
