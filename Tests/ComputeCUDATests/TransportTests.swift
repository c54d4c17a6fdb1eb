import ComputeCUDA
import Support
import Testing
import Trainer

/// What carries tensors between ranks, from what the ranks tell of themselves.
@Suite struct TransportTests {
  private func facts(
    _ host: String, gpu: Int, name: String = "H100", version: Int? = 22809, problem: String = ""
  ) -> Transport.RankFacts {
    Transport.RankFacts(
      host: host,
      place: DevicePlace(
        name: name, capability: 90, byteCount: 80_000_000_000, address: "0000:0\(gpu):00.0"),
      version: version, problem: problem)
  }

  @Test func factsReadBack() throws {
    for facts in [facts("a", gpu: 1), facts("\"b\"\n", gpu: 2, version: nil, problem: "none")] {
      #expect(try Transport.RankFacts(facts.text) == facts)
    }
    #expect(throws: UserError.self) { try Transport.RankFacts("[1]") }
  }

  @Test func ncclWhereEveryRankHasItsOwnGPU() throws {
    let ranks = [facts("a", gpu: 1), facts("a", gpu: 2), facts("b", gpu: 1)]
    for request in [ModelOptions.Collectives.auto, .nccl] {
      let decision = try Transport.decide(request, ranks)
      #expect(decision.usesNCCL && decision.notes.isEmpty)
    }
    #expect(try !Transport.decide(.mpi, ranks).usesNCCL)
  }

  @Test(
    arguments: [
      (1, Int?(22809), "", "ranks 0 and 1 share H100 at 0000:01:00.0 on a"),
      (2, nil, "NCCL cannot be used: it is not there", "rank 1 on a cannot use NCCL: NCCL cannot"),
    ])
  func mpiForAReason(_ gpu: Int, _ version: Int?, _ problem: String, _ reason: String) throws {
    let ranks = [facts("a", gpu: 1), facts("a", gpu: gpu, version: version, problem: problem)]
    let decision = try Transport.decide(.auto, ranks)
    #expect(!decision.usesNCCL)
    #expect(decision.notes.count == 1 && decision.notes[0].contains(reason), "\(decision.notes)")
    #expect {
      _ = try Transport.decide(.nccl, ranks)
    } throws: { "\($0)".contains("--collectives: nccl, but \(reason)") }
  }

  @Test func versionsThatDiffer() {
    #expect {
      _ = try Transport.decide(.auto, [facts("a", gpu: 1), facts("b", gpu: 1, version: 22703)])
    } throws: { error in
      "\(error)".contains("hosts have different versions: 2.28.9 on a, 2.27.3 on b")
    }
  }

  @Test func unequalGPUsAreNamed() throws {
    let decision = try Transport.decide(
      .auto, [facts("a", gpu: 1), facts("b", gpu: 1, name: "A100")])
    #expect(decision.usesNCCL)
    #expect(decision.notes.count == 1)
    #expect(decision.notes[0].contains("rank 1 on b has A100"), "\(decision.notes)")
  }
}
