import Compute
import ComputeCPU
import DistributedTraining
import Glibc
import Support
import Synchronization
import TestSupport
import Testing
import Trainer

/// `test` passes where all is well, and every check finds the mistake that it is there for.
@Suite(.serialized, .timeLimit(.minutes(5))) struct SelfTestTests {
  private static let cache = "/tmp/accelerate-swift-test-cache-\(getuid())"

  /// Writes the demo once, before threads of this process do it at the same time.
  private static let isCacheFilled: Bool = {
    let code = try? SelfTest(
      configuration: SelfTestConfiguration(),
      environment: ProgramEnvironment(cacheDirectory: cache), group: SoloGroup(), write: { _ in }
    ).run([])
    return code == ExitCode.success
  }()

  /// What a run of some checks printed and ended with.
  private struct Report {
    var text = ""
    var codes: [Int32] = []
    var errors: [String] = []

    /// Whether a check of this name is told as `OK`, `FAIL` or `SKIP`.
    func says(_ verdict: String, _ name: String) -> Bool {
      text.split(separator: "\n").contains {
        $0.hasPrefix(verdict.padded(to: 6) + name) && $0.contains(": ")
      }
    }
  }

  /// Runs checks on ranks that are threads.
  private func report(
    ranks: Int, _ names: [String], tamper: ThreadGroup.Tamper? = nil,
    fault: @escaping @Sendable (_ rank: Int, _ threads: Int) -> FaultyBackend.Fault? = { _, _ in nil
    }
  ) -> Report {
    let checks = SelfTestCheck.all(isQuick: false).filter { names.contains($0.name) }
    #expect(checks.count == names.count && Self.isCacheFilled, "\(names)")
    let lines = Mutex("")
    var report = Report()
    for result in ThreadGroup.run(
      ranks: ranks, tamper: tamper,
      { group in
        try SelfTest(
          configuration: SelfTestConfiguration(threads: 1),
          environment: ProgramEnvironment(cacheDirectory: Self.cache), group: group,
          makeBackend: { options in
            let backend = CPUBackend(threadCount: options.threads)
            return fault(group.rank, options.threads).map { FaultyBackend(backend, $0) } ?? backend
          },
          write: { text in lines.withLock { $0 += text } }
        ).run(checks)
      })
    {
      switch result {
      case .success(let code): report.codes.append(code)
      case .failure(let error): report.errors.append("\(error)")
      }
    }
    report.text = lines.withLock { $0 }
    return report
  }

  /// Expects the check alone to pass, and to fail with the mistake.
  private func expectFound(
    _ name: String, ranks: Int, says words: String, tamper: ThreadGroup.Tamper? = nil,
    fault: @escaping @Sendable (_ rank: Int, _ threads: Int) -> FaultyBackend.Fault? = { _, _ in nil
    },
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let good = report(ranks: ranks, [name])
    #expect(
      good.says("OK", name) && good.codes == Array(repeating: 0, count: ranks), "\(good)",
      sourceLocation: sourceLocation)
    #expect(good.text.contains("\nOK: 1 check passed"), sourceLocation: sourceLocation)
    let bad = report(ranks: ranks, [name], tamper: tamper, fault: fault)
    #expect(
      bad.says("FAIL", name) && bad.codes == Array(repeating: 1, count: ranks), "\(bad)",
      sourceLocation: sourceLocation)
    #expect(bad.text.contains(words), "\(bad.text)", sourceLocation: sourceLocation)
    #expect(
      bad.text.contains("\nFAIL: 1 of 1 checks: \(name)\n"), sourceLocation: sourceLocation)
  }

  // MARK: Mistakes of the network

  @Test func collectivesFindAFlippedBit() {
    for collective in [ThreadGroup.Collective.allGather, .allToAll, .broadcast] {
      let words =
        switch collective {
        case .allGather: "all-gather of"
        case .allToAll: "all-to-all"
        case .broadcast: "broadcast from rank"
        }
      expectFound(
        "collectives", ranks: 3, says: "\(words)",
        tamper: { seen, rank, depth, bytes in
          // Not the scalars and texts by which the result is told.
          if seen == collective, rank == 1, depth == 0, bytes.count >= 999 { bytes[500] ^= 4 }
        })
    }
  }

  @Test func ranksFindAFlippedBitOfAGradient() {
    expectFound(
      "1 = N ranks, mixture, float32", ranks: 3, says: "2 ranks and 1: step",
      tamper: { collective, rank, _, bytes in
        if collective == .allToAll, rank == 0, bytes.count > 10_000 { bytes[7] ^= 0x10 }
      })
  }

  @Test func ranksFindAFlippedBitOfAWeight() {
    expectFound(
      "1 = N ranks, dense, float32", ranks: 2, says: "2 ranks and 1: step",
      tamper: { collective, rank, _, bytes in
        if collective == .allGather, rank == 1, bytes.count > 10_000 { bytes[0] ^= 1 }
      })
  }

  @Test func ranksFindAProcessorThatComputesOtherwise() {
    expectFound(
      "1 = N ranks, mixture, nf4", ranks: 2,
      says: "ranks 0 and 1 compute different bits when each trains alone",
      fault: { rank, _ in rank == 1 ? .normIsOff : nil })
  }

  @Test func shardingFindsAFlippedBitOfASlab() {
    expectFound(
      "--shard none = full, mixture, nf4", ranks: 2, says: "step 1: ",
      tamper: { collective, rank, depth, bytes in
        // Gathers of the base go over a group of their own.
        if collective == .allGather, rank == 1, depth == 1, bytes.count > 10_000 {
          bytes[bytes.count / 4] ^= 0x40
        }
      })
  }

  // MARK: Mistakes of the device

  /// The last element of each bucket: four layers and the head.
  @Test func accumulationFindsASumThatIsShort() {
    expectFound(
      "accumulation, mixture, float32", ranks: 1, says: "5 of 160896 gradients differ",
      fault: { _, _ in .addIsShort })
  }

  @Test(arguments: ["mixture", "dense"]) func isolationFindsALeak(_ model: String) {
    expectFound(
      "packing isolation, \(model), float32", ranks: 1, says: "losses differ by ",
      fault: { _, _ in .attentionLeaks })
  }

  @Test func threadsFindADifference() {
    expectFound(
      "1 = 2 threads, dense, float32", ranks: 1, says: "step 1: loss",
      fault: { _, threads in threads == 2 ? .normIsOff : nil })
  }

  @Test func recomputationFindsADifference() {
    expectFound(
      "gradient checkpointing on = off, mixture, nf4", ranks: 2, says: "step 1: gradient norm",
      fault: { _, _ in .recomputationDiffers })
  }

  @Test func resumptionFindsLostState() {
    expectFound(
      "stop and resume, dense, float32", ranks: 2, says: "weights, by up to",
      fault: { _, _ in .optimizerForgets(call: 3) })
  }

  @Test func recordedLossesFindANormThatIsOff() {
    expectFound(
      "recorded losses", ranks: 1, says: "losses differ by ", fault: { _, _ in .normIsOff })
  }

  @Test func aRankThatFailsEndsTheJobAndIsNamed() {
    let name = "gradient checkpointing on = off, dense, float32"
    let run = report(
      ranks: 3, [name], fault: { rank, _ in rank == 1 ? .attentionFails(call: 5) : nil })
    #expect(run.text.contains("FAIL  \(name) (rank 1): the device is gone"), "\(run.text)")
    #expect(run.codes.isEmpty && run.errors.count == 3)
    let alone = report(ranks: 1, [name], fault: { _, _ in .attentionFails(call: 5) })
    #expect(alone.text.contains("FAIL  \(name): the device is gone"))
    #expect(alone.codes == [1])
  }

  // MARK: The program

  @Test(arguments: [1, 2, 4]) func passesInTime(_ ranks: Int) throws {
    let start = SteadyClock.seconds()
    let run = try ProgramRun(
      (ranks > 1 ? ["launch", "--nproc", "\(ranks)"] : []) + ["test"]
        + (ranks == 2 ? [] : ["--quick"]),
      environment: ["XDG_CACHE_HOME": Self.cache])
    let report = Report(text: run.output)
    #expect(run.exitCode == 0, "\(run.output)\(run.errors)")
    #expect(run.outputLines.last?.hasPrefix("OK: ") == true)
    #expect(!run.output.contains("FAIL"))
    #expect(report.says(ranks > 1 ? "OK" : "SKIP", "1 = N ranks, mixture, nf4"))
    #expect(report.says("OK", "packing isolation, mixture, float32"))
    #expect(SteadyClock.seconds() - start < 120)
    let left = try FileSystem.list("\(Self.cache)/accelerate-swift").filter {
      $0.hasPrefix("test-")
    }
    #expect(left.isEmpty, "\(left)")
  }

  @Test func mistakesAreExplained() throws {
    if try ProgramRun(["env"]).output.contains("CUDA driver   not found") {
      let device = try ProgramRun(["test", "--device", "cuda"])
      #expect(device.exitCode == ExitCode.failure)
      #expect(device.errors.hasPrefix("error: CUDA driver cannot be used: "))
      #expect(device.errors.contains("\n  fix: install NVIDIA's driver"))
    }
    let flag = try ProgramRun(["launch", "--nproc", "2", "test", "--sede", "1"])
    #expect(flag.exitCode == ExitCode.usage)
    #expect(flag.errors.hasSuffix("fix: did you mean --seed?\n"))
  }
}

extension String {
  fileprivate func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
