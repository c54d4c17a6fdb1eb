internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Optim
internal import Support

/// Where a run begins: at step 0 with new adapters, or after the step of a checkpoint.
struct RunState {
  /// Steps that are done.
  let step: Int
  private(set) var weights: [Float]
  /// What a checkpoint of this run must agree with.
  let identity: JSONObject
  /// How products were computed so far, on rank 0; nil for a new run.
  let products: ProductChoices?
  private var moments: (first: [Float], second: [Float])?

  /// Settings that a resumed run may change: where and how often things are written, the number
  /// of steps, and where it computes.
  private static let changeableSettings: Set<String> = [
    "output", "eval-data", "cache", "no-cache", "eval-steps", "save-steps", "logging-steps",
    "keep-checkpoints",
    "max-steps", "epochs", "threads", "device", "collectives", "shard", "shard-group",
    "gradient-checkpointing",
    "model", "data",
    "init-adapter",
  ]

  init(
    configuration: TrainConfiguration, output: String, values: [Float], layout: AdapterLayout,
    training: SampleSet, base: LoadedBase.Description, group: any ProcessGroup, reporter: Reporter
  ) throws {
    var identity = JSONObject()
    for (name, value) in configuration.settings
    where !Self.changeableSettings.contains(name) && !value.isNull {
      identity["--\(name)"] = value
    }
    identity["digest of the data"] = .string(training.dataset.digest)
    identity["digest of the base"] = .string(base.digest)
    self.identity = identity

    guard configuration.resumes else {
      (step, weights, moments, products) = (0, values, nil, nil)
      return
    }
    // Rank 0 reads; the others need not see the files.
    let checkpoint =
      group.rank == 0
      ? try Checkpoint.newest(
        in: output, layout: layout, identity: identity, warn: reporter.note) : nil
    let found = Int(try group.broadcast("\(checkpoint?.step ?? 0)")) ?? 0
    guard found > 0 else {
      reporter.note("nothing to resume in \(output); starting at step 1")
      (step, weights, moments, products) = (0, values, nil, nil)
      return
    }
    let zeros = [Float](repeating: 0, count: layout.elementCount)
    var weights = checkpoint?.weights ?? zeros
    var first = checkpoint?.firstMoment ?? zeros
    var second = checkpoint?.secondMoment ?? zeros
    try group.broadcast(array: &weights)
    try group.broadcast(array: &first)
    try group.broadcast(array: &second)
    reporter.note("resuming after step \(found)")
    if group.rank == 0 { group.progress.announceSaved(step: found) }
    step = found
    self.weights = weights
    moments = (first, second)
    products = checkpoint?.products
  }

  /// Hands the weights over, so that they are held once.
  mutating func takeWeights() -> [Float] {
    defer { weights = [] }
    return weights
  }

  /// Puts the checkpoint's moments into the optimizer; nothing for a new run.
  ///
  /// - Parameters:
  ///   - optimizer: whose moments are of this rank's slice.
  ///   - backend: copies them.
  ///   - slice: takes this rank's slice out of a flat vector.
  mutating func loadMoments(
    into optimizer: AdamW, backend: any Backend, slice: ([Float]) -> [Float]
  ) throws {
    guard let moments else { return }
    defer { self.moments = nil }
    try backend.upload(slice(moments.first), to: optimizer.firstMoment)
    try backend.upload(slice(moments.second), to: optimizer.secondMoment)
  }
}
