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
  /// - Throws: when samples cannot be read.
  mutating func makeStep(_ number: Int, of samples: SampleList, on group: any ProcessGroup)
    throws -> (StepPlan, [PackInput])
  {
    let packs = packs(ofStep: number)
    let indices = packs.joined()
    let stepPlan = StepPlan(
      step: number, packCount: packs.count,
      targetTokens: max(1, indices.reduce(0) { $0 + samples.targetTokens($1) }),
      tokens: indices.reduce(0) { $0 + samples.tokenCount($1) })
    let run = PackRuns.run(
      ofRank: group.rank, packCount: packs.count, worldSize: group.worldSize)
    return (stepPlan, try packs[run].map { PackInput(try Pack($0, of: samples)) })
  }

  /// One line for the log of a run.
  var summary: String {
    let first = firstEpoch
    let full = fillRate.map { ", \(NumberText.fixed(100 * $0, digits: 1)) % full" } ?? ""
    return "packs: \(first.packs)\(full), \(first.steps) steps an epoch, \(totalSteps) in all"
  }
}
