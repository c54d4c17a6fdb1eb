import DistributedTraining
import Testing

@Suite struct PackRunsTests {
  @Test func ranksPartitionThePacksOfAStep() {
    for count in 0...33 {
      for ranks in 1...17 {
        let runs = (0..<ranks).map {
          PackRuns.run(ofRank: $0, packCount: count, worldSize: ranks)
        }
        #expect(runs.flatMap { Array($0) } == Array(0..<count))
        let sizes = runs.map(\.count)
        #expect(sizes == sizes.sorted(by: >) && sizes[0] - sizes[ranks - 1] <= 1)
      }
    }
  }
}
