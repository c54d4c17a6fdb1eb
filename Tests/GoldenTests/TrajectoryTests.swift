import Compute
import ComputeCPU
import GoldenReference
import Model
import Support
import Testing
import Trainer

@Suite(.enabled(if: Reference.isAvailable, "\(Reference.reason)"))
struct TrajectoryTests {
  @Test(arguments: TrajectoryCase.all)
  func twentySteps(_ golden: TrajectoryCase) throws {
    let directory = "\(Reference.directory)/trajectories/\(golden.name)"
    let run = try golden.makeRun(
      on: CPUBackend(threadCount: 1, precision: golden.precision))
    #expect(try golden.problems(of: run.train(steps: 20)) == [])
    if golden.isBFloat16 { return }
    let final = try AdapterFile(
      directory: "\(directory)/final_adapter", configuration: run.base.configuration,
      base: run.base.source)
    let ours = try run.backend.download(run.weights)
    for entry in run.layout.entries {
      for range in [entry.rangeA, entry.rangeB] {
        let error = relativeError(Array(ours[range]), Array(final.values[range]))
        #expect(error <= 2e-4, "\(entry.module): \(error)")
      }
    }
  }

  /// Relative error by Euclidean norms.
  private func relativeError(_ ours: [Float], _ theirs: [Float]) -> Double {
    var difference = 0.0
    var size = 0.0
    for (a, b) in zip(ours, theirs) {
      difference += (Double(a) - Double(b)) * (Double(a) - Double(b))
      size += Double(b) * Double(b)
    }
    return size == 0 ? difference.squareRoot() : (difference / size).squareRoot()
  }
}
