internal import BackendChecks
package import Support

/// What a check found on one rank.
package struct SelfTestOutcome: Sendable, Equatable {
  package var isRight: Bool
  /// What was compared, and the difference.
  package var detail: String
  /// Numbers of the check, for the file of `--json`.
  package var figures = JSONObject()

  package init(_ isRight: Bool, _ detail: String) {
    self.isRight = isRight
    self.detail = detail
  }

  /// The outcome of comparing bits.
  ///
  /// - Parameters:
  ///   - difference: nil when there is none.
  ///   - right: said then.
  init(difference: String?, right: String) {
    self.init(difference == nil, difference ?? right)
  }
}

/// One thing that `test` proves. Every rank runs the same checks in the same order.
package struct SelfTestCheck: Sendable {
  package let name: String
  /// With fewer ranks there is nothing to compare.
  package let minimumRanks: Int
  let run: @Sendable (SelfTestStage) throws -> SelfTestOutcome

  init(
    _ name: String, minimumRanks: Int = 1,
    _ run: @escaping @Sendable (SelfTestStage) throws -> SelfTestOutcome
  ) {
    self.name = name
    self.minimumRanks = minimumRanks
    self.run = run
  }

  /// All checks, the cheapest first: of a GPU's operations before those of whole steps.
  package static func all(_ configuration: SelfTestConfiguration) -> [SelfTestCheck] {
    all(onDeviceOf: configuration).filter { check in
      configuration.only.map { check.name.contains($0) } ?? true
    }
  }

  private static func all(onDeviceOf configuration: SelfTestConfiguration) -> [SelfTestCheck] {
    let (isQuick, timed) = (configuration.isQuick, configuration.measuresSpeed)
    let all = all(isQuick: isQuick, measuresSpeed: timed)
    guard configuration.device == .cuda else { return all }
    return OperationCheck.all.map(operation)
      + (timed ? [operationSpeed([.mixtral, .llama], [2048, 8192])] : [])
      + all.filter { !$0.name.contains("threads") }
  }

  /// Checks of any device.
  package static func all(isQuick: Bool, measuresSpeed: Bool = true) -> [SelfTestCheck] {
    let models: [TrialModel] = isQuick ? [.nf4] : [.float32, .nf4, .bfloat16, .dense]
    let few: [TrialModel] = isQuick ? [.nf4] : [.nf4, .dense]
    return [collectives] + (measuresSpeed ? [speed(isQuick: isQuick)] : []) + [recordedLosses]
      + [accumulation(.float32)] + (isQuick ? [.float32] : [.float32, .dense]).map(isolation)
      + models.map(ranks) + models.map(threads) + few.map(recomputation)
      + few.map(sliced) + few.map(shared) + few.map(resumption)
  }
}
