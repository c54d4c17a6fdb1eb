internal import Data
internal import DistributedTraining
internal import Model

extension PackPlan {
  /// The packs of a step, of which a rank lays out its own run.
  ///
  /// - Parameters:
  ///   - number: of the step, from 1.
  ///   - samples: of the dataset.
  ///   - group: the ranks.
  /// - Returns: what ``TrainStep`` takes.
  mutating func makeStep(_ number: Int, of samples: [Sample], on group: any ProcessGroup)
    -> (StepPlan, [PackInput])
  {
    let packs = packs(ofStep: number)
    let indices = packs.joined()
    let stepPlan = StepPlan(
      step: number, packCount: packs.count,
      targetTokens: max(1, indices.reduce(0) { $0 + samples[$1].targetTokens }),
      tokens: indices.reduce(0) { $0 + samples[$1].tokens.count })
    let run = PackRuns.run(
      ofRank: group.rank, packCount: packs.count, worldSize: group.worldSize)
    return (stepPlan, packs[run].map { PackInput(Pack($0, of: samples)) })
  }
}
