import Support
import Testing

@Suite struct ProcessStatusTests {
  @Test func theKernelTellsPeakMemoryAndCores() {
    #expect(ProcessStatus.peakMemoryByteCount > 1 << 20)
    #expect((1...4096).contains(ProcessStatus.availableCoreCount))
  }

  @Test func threadsComeFromTheFlagThenTheEnvironmentThenTheShareOfTheCores() {
    var environment = ProgramEnvironment(coreCount: 8, localRankCount: 3, cacheDirectory: "/tmp")
    #expect(environment.threadCount(flag: 0) == 2)
    environment.localRankCount = 16
    #expect(environment.threadCount(flag: 0) == 1)
    environment.requestedThreads = 5
    #expect(environment.threadCount(flag: 0) == 5)
    #expect(environment.threadCount(flag: 7) == 7)
  }
}
