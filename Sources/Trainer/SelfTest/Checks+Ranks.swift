internal import DistributedTraining
internal import Model
internal import Support

// Checks of what ranks do together.

extension SelfTestCheck {
  static let collectives = SelfTestCheck("collectives") { stage in
    var problem: UserError?
    for scale in [1000, 300_000] {
      // A rank that finds a mistake goes on with the others.
      do throws(UserError) {
        try CollectiveCheck(stage.group, scale: scale).run()
      } catch {
        problem = problem ?? error
      }
    }
    if let problem { return SelfTestOutcome(false, problem.message) }
    return SelfTestOutcome(
      true, "all-gather, all-to-all, broadcast, agreement and split: every byte as it was sent")
  }

  static func speed(isQuick: Bool) -> SelfTestCheck {
    SelfTestCheck("speed of the collectives", minimumRanks: 2) { stage in
      let sizes =
        [("8 B", 8), ("64 kB", 64_000), ("1 MB", 1_000_000)]
        + (isQuick ? [] : [("16 MB", 16_000_000)])
      let times = CollectiveTimes(stage.group)
      let texts = try sizes.map { name, byteCount in
        let seconds = try times.allGather(byteCount: byteCount, tries: byteCount > 99_999 ? 3 : 20)
        let rate = Double(byteCount * (stage.group.worldSize - 1)) / seconds / 1e9
        return "\(name) in \(NumberText.short(seconds * 1e6)) us"
          + (byteCount > 8 ? " (\(NumberText.fixed(rate, digits: 2)) GB/s)" : "")
      }
      return SelfTestOutcome(true, "all-gather of " + texts.joined(separator: ", ") + " a rank")
    }
  }

  /// Every rank trains alone, two ranks train together, and all: the same bits everywhere.
  static func ranks(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("1 = N ranks, \(model.name)", minimumRanks: 2) { stage in
      let trial = Trial(model, stage)
      let count = stage.group.worldSize
      let alone = try trial.result(on: SoloGroup(), stage)
      let prints = try stage.group.allGather([alone.fingerprint])
      let other = prints.firstIndex { $0 != prints[0] }
      var problem = other.map {
        "ranks 0 and \($0) compute different bits when each trains alone: their processors or "
          + "libraries differ"
      }
      if count > 2 {
        let two = try stage.onFirstRanks(2) { try trial.result(on: $0, stage) }
        problem =
          problem
          ?? two?.difference(from: alone).map { "2 ranks and 1: \($0)" }
      }
      let together = try trial.result(on: stage.group, stage)
      problem = problem ?? together.difference(from: alone).map { "\(count) ranks and 1: \($0)" }
      let ways = count > 2 ? "1, 2 and \(count) ranks" : "1 and 2 ranks"
      return SelfTestOutcome(
        difference: problem,
        right: "\(ways), \(trial.packsPerStep) packs a step: \(alone.summary)")
    }
  }

  /// A base in slices against a base that each rank holds.
  static func sliced(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("--shard none = full, \(model.name)") { stage in
      let trial = Trial(model, stage)
      let whole = try trial.result(on: stage.group, stage)
      let members = try stage.group.split(color: 0)
      let collectives = try HostCollectives(members, backend: try stage.backend(model))
      let sliced = try trial.result(on: stage.group, placement: .sharded(collectives), stage)
      try members.shutdown()
      return SelfTestOutcome(
        difference: sliced.difference(from: whole),
        right: "base in \(members.worldSize == 1 ? "1 slice" : "\(members.worldSize) slices"): "
          + whole.summary)
    }
  }

  /// One copy of the base for a host against one for each rank.
  static func shared(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("one base per host = per rank, \(model.name)", minimumRanks: 2) { stage in
      let trial = Trial(model, stage)
      let whole = try trial.result(on: stage.group, stage)
      let host = try stage.group.splitByHost()
      let shared = try trial.result(
        on: stage.group, placement: .shared(host: host, directory: stage.directory), stage)
      try host.shutdown()
      return SelfTestOutcome(difference: shared.difference(from: whole), right: whole.summary)
    }
  }

  /// Training that is stopped after step 2, saved, and continued by new objects.
  static func resumption(_ model: TrialModel) -> SelfTestCheck {
    SelfTestCheck("stop and resume, \(model.name)") { stage in
      var trial = Trial(model, stage)
      trial.steps = 4
      let group = stage.group
      let whole = try trial.result(on: group, stage)

      var first = try TrialRun(trial, on: group, stage)
      let before = try first.train(1...2)
      let moments = try first.moments()
      let identity = JSONObject([
        ("seed", .string("\(trial.seed)")), ("model", .string(model.name)),
      ])
      let output = "\(stage.directory)/\(model.isNF4 ? "nf4" : "other")-\(model.weights)"
      let layout = first.layout
      var restored: Checkpoint?
      if group.rank == 0 {
        try FileSystem.makeDirectories(output)
        try Checkpoint(
          step: 2, weights: first.weights(), firstMoment: moments[0], secondMoment: moments[1],
          identity: identity
        ).write(
          to: output, layout: layout,
          adapterConfiguration: AdapterFile.configuration(
            layout.settings, family: model.weights == .demo ? .mixtral : .llama, baseModel: "test"))
        restored = try Checkpoint.newest(
          in: output, layout: layout, identity: identity, warn: { _ in })
      }
      let zeros = [Float](repeating: 0, count: layout.elementCount)
      var vectors = [
        restored?.weights ?? zeros, restored?.firstMoment ?? zeros, restored?.secondMoment ?? zeros,
      ]
      for index in vectors.indices { try group.broadcast(array: &vectors[index]) }
      var second = try TrialRun(trial, on: group, stage)
      try second.setWeights(vectors[0])
      try second.setMoments([vectors[1], vectors[2]])
      let after = try second.train(3...4)
      let resumed = TrialResult(metrics: before + after, weights: try second.weights())
      return SelfTestOutcome(
        difference: resumed.difference(from: whole),
        right: "2 steps, a checkpoint, 2 more as 4 in one go: \(whole.summary)")
    }
  }
}
