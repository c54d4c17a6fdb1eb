internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Support

// Checks of what one rank computes.

extension SelfTestCheck {
  /// Samples of the pack that ``isolation(_:)`` takes apart.
  static let isolatedSampleCount = 5

  static func threads(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("1 = 2 threads, \(model.name)") { stage in
      var trial = Trial(model, stage)
      trial.steps = 2
      trial.threads = 1
      let one = try trial.result(on: SoloGroup(), stage)
      trial.threads = 2
      let two = try trial.result(on: SoloGroup(), stage)
      return SelfTestOutcome(difference: two.difference(from: one), right: one.summary)
    }
  }

  static func recomputation(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("gradient checkpointing on = off, \(model.name)") { stage in
      var trial = Trial(model, stage)
      let off = try trial.result(on: stage.group, stage)
      trial.retention = .inputs
      let on = try trial.result(on: stage.group, stage)
      return SelfTestOutcome(difference: on.difference(from: off), right: off.summary)
    }
  }

  /// A step of several packs against the packs one by one, added up here in other ways.
  static func accumulation(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("accumulation, \(model.name)") { stage in
      var trial = Trial(model, stage)
      trial.packsPerStep = 7
      trial.sampleCount = 14
      trial.steps = 1
      trial.lora.dropout = 0
      var alone = try TrialRun(trial, on: SoloGroup(), stage)
      try alone.setWeights(alone.layout.spreadValues(seed: trial.seed))
      let packs = alone.packs(ofStep: 1).map { PackInput(Pack($0, of: alone.samples)) }
      let targets = packs.reduce(0) { $0 + $1.targets.count }
      let parts = try packs.map {
        try alone.gradient(of: $0, divisor: targets, packCount: packs.count)
      }

      // The production path: over all ranks, on their own slices.
      let group = stage.group
      let backend = try stage.backend(model)
      let exchange = try GradientExchange(
        group: group, slices: trial.slices(alone.layout, worldSize: group.worldSize),
        maximumPackCount: packs.count, backend: backend)
      try exchange.begin(packCount: packs.count)
      for pack in PackRuns.run(
        ofRank: group.rank, packCount: packs.count, worldSize: group.worldSize)
      {
        let buffer = try exchange.makeGradients()
        try backend.upload(parts[pack].values, to: buffer)
        for part in alone.layout.parts.indices.reversed() { try exchange.finish(from: part) }
      }
      let sum = try exchange.sum().flatMap { try backend.download($0) }
      let slice = exchange.slices.pieces(ofRank: group.rank).flatMap { Array($0.elements) }
      for division in 1...packs.count {
        let expected = PackSum.sum(parts.map(\.values), dividedInto: division)
        let unequal = zip(sum, slice).count { $0.bitPattern != expected[$1].bitPattern }
        guard unequal == 0 else {
          return SelfTestOutcome(
            false,
            "\(unequal) of \(sum.count) gradients differ from the sum over packs in "
              + "\(division) runs")
        }
      }
      let exact = slice.map { index in parts.reduce(0.0) { $0 + Double($1.values[index]) } }
      let rounding = RelativeDifference.ofVectors(sum.map { Double($0) }, exact)

      // A whole step against the same packs.
      let metrics = try alone.train(1...1)[0]
      let loss = parts.reduce(0.0) { $0 + $1.lossSum } / Double(targets)
      let norm = (0..<alone.layout.elementCount).reduce(0.0) { square, index in
        let value = parts.reduce(0.0) { $0 + Double($1.values[index]) }
        return square + value * value
      }.squareRoot()
      let lossError = RelativeDifference.of(metrics.loss, loss)
      let normError = RelativeDifference.of(metrics.gradientNorm, norm)
      let text =
        "\(packs.count) packs in 1 to \(packs.count) runs give the same bits; against sums "
        + "in double precision: gradients \(RelativeDifference.text(rounding)), loss "
        + "\(RelativeDifference.text(lossError)), norm \(RelativeDifference.text(normError))"
      return SelfTestOutcome(rounding < 1e-6 && lossError < 1e-12 && normError < 1e-6, text)
    }
  }

  /// Samples of a pack against the same samples alone.
  static func isolation(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("packing isolation, \(model.name)") { stage in
      var trial = Trial(model, stage)
      trial.lora.dropout = 0
      let run = try TrialRun(trial, on: SoloGroup(), stage)
      try run.setWeights(run.layout.spreadValues(seed: trial.seed))
      let samples = Array(run.samples.prefix(isolatedSampleCount))
      let together = try run.losses(samples)
      var most = 0.0
      for (index, sample) in samples.enumerated() {
        most = max(most, RelativeDifference.ofSums(together[index], try run.losses([sample])[0]))
      }

      // Another sample in the middle: of the same length, then a shorter one.
      let middle = isolatedSampleCount / 2
      let changed = samples[middle].withOtherTokens(below: 250)
      var moved: [Double] = []
      var movedTokens: [Int] = []
      for other in [changed, changed.firstHalf] {
        var list = samples
        list[middle] = other
        let losses = try run.losses(list)
        let kept = samples.indices.filter { $0 != middle }
        movedTokens.append(
          kept.flatMap { zip(together[$0], losses[$0]) }.count { $0.bitPattern != $1.bitPattern })
        moved.append(
          kept.map { RelativeDifference.ofSums(together[$0], losses[$0]) }.max() ?? 0)
      }

      let targets = samples.reduce(0) { $0 + $1.targetTokens }
      let whole = try run.gradient(of: run.pack(samples), divisor: targets, packCount: nil).values
      var exact = [Double](repeating: 0, count: whole.count)
      for sample in samples {
        let part = try run.gradient(of: run.pack([sample]), divisor: targets, packCount: nil).values
        for index in exact.indices { exact[index] += Double(part[index]) }
      }
      let gradients = RelativeDifference.ofVectors(whole.map { Double($0) }, exact)
      func change(_ index: Int) -> String {
        movedTokens[index] == 0
          ? "no bit of the others'"
          : "bits of \(movedTokens[index]) tokens' losses and a sample's loss by up to "
            + RelativeDifference.text(moved[index])
      }
      return SelfTestOutcome(
        most < 1e-6 && gradients < 1e-4 && moved.allSatisfy { $0 < 1e-6 },
        "\(samples.count) samples packed or alone: losses differ by \(RelativeDifference.text(most)), "
          + "gradients by \(RelativeDifference.text(gradients)); another sample of the same length "
          + "moves \(change(0)), a shorter one \(change(1))")
    }
  }
}

/// Sums of gradients over packs, written again and in plain arrays.
enum PackSum {
  /// The tree's sum when the packs are divided into runs, each added up by itself first.
  static func sum(_ parts: [[Float]], dividedInto division: Int) -> [Float] {
    var known: [PackTree.Node: [Float]] = [:]
    for rank in 0..<division {
      let run = PackRuns.run(ofRank: rank, packCount: parts.count, worldSize: division)
      for node in PackTree.nodes(covering: run) { known[node] = sum(parts, node.packs) }
    }
    var level = known
    while level.count > 1 {
      // Whatever has a sibling becomes its parent, lowest level first.
      let lowest = level.keys.map(\.level).min() ?? 0
      var next = level.filter { $0.key.level > lowest }
      for (node, values) in level where node.level == lowest && node.index % 2 == 0 {
        let sibling = level[PackTree.Node(level: lowest, index: node.index + 1)]
        next[PackTree.Node(level: lowest + 1, index: node.index / 2)] =
          sibling.map { zip(values, $0).map { $0 + $1 } } ?? values
      }
      level = next
    }
    return level.first?.value ?? []
  }

  /// Halves added up, left plus right; packs that are not there add nothing.
  private static func sum(_ parts: [[Float]], _ packs: Range<Int>) -> [Float] {
    if packs.count == 1 { return parts[packs.lowerBound] }
    let middle = packs.lowerBound + packs.count / 2
    let left = sum(parts, packs.lowerBound..<middle)
    return zip(left, sum(parts, middle..<packs.upperBound)).map { $0 + $1 }
  }
}

extension AdapterLayout {
  /// Weights with B as spread as A, so that the adapters count from the first pass on.
  func spreadValues(seed: UInt64) -> [Float] {
    var values = initialValues(seed: seed)
    for entry in entries {
      for (offset, index) in entry.rangeB.enumerated() {
        values[index] = 0.2 * values[entry.rangeA.lowerBound + offset % entry.rangeA.count]
      }
    }
    return values
  }
}

extension Sample {
  /// The same length and labels of other tokens.
  func withOtherTokens(below bound: Int32) -> Sample {
    Sample(tokens: tokens.map { 3 + ($0 &* 7 &+ 11) % (bound - 3) }, labels: labels)
  }

  var firstHalf: Sample {
    let count = (tokens.count + 1) / 2
    return Sample(tokens: Array(tokens.prefix(count)), labels: Array(labels.prefix(count)))
  }
}

extension TrialRun {
  func pack(_ samples: [Sample]) -> PackInput {
    PackInput(Pack(Array(samples.indices), of: samples))
  }

  /// The losses of the target tokens of each sample of a pack.
  func losses(_ samples: [Sample]) throws -> [[Float]] {
    let pass = try step.model.forward(pack(samples), retention: .nothing)
    var rest = try step.model.loss(pass, gradientScale: nil).tokenLosses[...]
    return samples.map { sample in
      defer { rest = rest.dropFirst(sample.targetTokens) }
      return Array(rest.prefix(sample.targetTokens))
    }
  }

  /// The gradient of a pack in a step.
  ///
  /// - Parameters:
  ///   - pack: of the step.
  ///   - divisor: target tokens of the step.
  ///   - packCount: of the step, for the router loss; nil leaves it out.
  /// - Returns: the gradient and the pack's loss.
  func gradient(of pack: PackInput, divisor: Int, packCount: Int?) throws
    -> (values: [Float], lossSum: Double)
  {
    let model = step.model
    let gradients = Tensor(
      storage: try model.backend.makeStorage(byteCount: 4 * layout.elementCount),
      columns: layout.elementCount)
    let pass = try model.forward(pack, retention: .activations)
    let loss = try model.loss(
      pass, gradientScale: Float(1 / Double(divisor)), gradients: gradients)
    try model.backward(
      pass, routerLossScale: packCount.map { step.routerLossCoefficient / Double($0) } ?? 0,
      gradients: gradients)
    return (try model.backend.download(gradients), loss.lossSum)
  }
}
