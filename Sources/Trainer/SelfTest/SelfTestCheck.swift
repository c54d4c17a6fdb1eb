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
    guard configuration.device == .cuda else { return all(isQuick: configuration.isQuick) }
    return OperationCheck.all.map(operation) + [operationSpeed([.mixtral, .llama], [2048, 8192])]
      + all(isQuick: configuration.isQuick).filter { !$0.name.contains("threads") }
  }

  /// Checks of any device.
  package static func all(isQuick: Bool) -> [SelfTestCheck] {
    let models: [TrialModel] = isQuick ? [.nf4] : [.float32, .nf4, .bfloat16, .dense]
    let few: [TrialModel] = isQuick ? [.nf4] : [.nf4, .dense]
    return [collectives, speed(isQuick: isQuick), recordedLosses]
      + [accumulation(.float32)] + (isQuick ? [.float32] : [.float32, .dense]).map(isolation)
      + models.map(ranks) + models.map(threads) + few.map(recomputation)
      + few.map(sliced) + few.map(shared) + few.map(resumption)
  }
}
