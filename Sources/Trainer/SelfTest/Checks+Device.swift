package import BackendChecks
internal import Compute
internal import Support

// Checks of a GPU's operations.

extension SelfTestCheck {
  /// An operation against the CPU.
  package static func operation(_ check: OperationCheck) -> SelfTestCheck {
    SelfTestCheck(check.name) { stage in
      let isBFloat16 = check.precision == .bfloat16
      let result = try check.compare(
        try stage.backend(isBFloat16 ? .bfloat16 : .float32),
        with: Assembly.reference(check.precision), seed: stage.seed)
      let bound = check.bound.value
      let shapes = result.shapeCount == 1 ? "1 shape" : "\(result.shapeCount) shapes"
      let difference = RelativeDifference.text(result.difference)
      var outcome = SelfTestOutcome(
        result.difference <= bound,
        bound == 0
          ? result.difference == 0
            ? "\(shapes), byte-equal to the CPU"
            : "\(difference) of the elements differ from the CPU's at \(result.place)"
          : "\(shapes), differs from the CPU by \(difference) of \(RelativeDifference.text(bound))"
            + (result.difference == 0 ? "" : " at \(result.place)"))
      outcome.figures = JSONObject([
        ("difference", .double(result.difference.isFinite ? result.difference : -1)),
        ("bound", .double(bound)), ("place", .string(result.place)),
      ])
      return outcome
    }
  }

  /// How fast operations are at real sizes, beside what the hardware can do. It fails only where the
  /// device does.
  package static func operationSpeed(_ models: [TimedShapes], _ tokens: [Int]) -> SelfTestCheck {
    SelfTestCheck("speed of operations") { stage in
      // One rank alone: several may share a GPU.
      let table = try stage.onFirstRanks(1) { _ in
        guard let (timer, limits) = Assembly.timer(try stage.backend(.bfloat16)) else {
          throw UserError(.usage, at: "--device", "operations are timed on a GPU alone")
        }
        var table = SpeedTable(limits)
        for model in models {
          for count in tokens { table.timings += try timer.timings(model, tokens: count) }
        }
        return table
      }
      var outcome = SelfTestOutcome(true, table?.text ?? "")
      outcome.figures = table?.figures ?? JSONObject()
      return outcome
    }
  }
}

/// Times of operations as text and as numbers.
struct SpeedTable {
  let limits: (memory: Double?, products: Double?)
  var timings: [OperationTiming] = []

  init(_ limits: (memory: Double?, products: Double?)) { self.limits = limits }

  /// A line for each operation, under a line for each model and number of tokens.
  var text: String {
    var lines = [
      "bf16, weights in nf4; the device's memory moves \(Self.rate(limits.memory, 1e9, "GB/s")), its "
        + "tensor cores compute \(Self.rate(limits.products, 1e12, "TFLOP/s")) at most"
    ]
    var heading = ""
    for timing in timings {
      let own = "      \(timing.model), \(timing.tokens) tokens"
      if own != heading { lines.append(own) }
      heading = own
      lines.append(line(timing))
    }
    return lines.joined(separator: "\n")
  }

  private func line(_ timing: OperationTiming) -> String {
    let isProduct = timing.operationCount > 0
    let (rate, limit) =
      isProduct
      ? (timing.operationsPerSecond, limits.products) : (timing.bytesPerSecond, limits.memory)
    let share = limit.map { "\(NumberText.fixed(100 * rate / $0, digits: 1)) %" } ?? "unknown"
    let unit = isProduct ? "TFLOP/s" : "GB/s"
    return "        " + timing.name.padded(34)
      + Self.right("\(NumberText.fixed(timing.milliseconds, digits: 3)) ms", 14)
      + Self.right("\(NumberText.fixed(rate / (isProduct ? 1e12 : 1e9), digits: 1)) \(unit)", 18)
      + Self.right(share, 10)
  }

  private static func rate(_ value: Double?, _ unit: Double, _ name: String) -> String {
    value.map { "\(NumberText.fixed($0 / unit, digits: 0)) \(name)" }
      ?? "an unknown number of \(name)"
  }

  private static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(1, width - text.count)) + text
  }

  var figures: JSONObject {
    JSONObject([
      ("bytes_per_second_limit", JSONValue(limits.memory)),
      ("flops_limit", JSONValue(limits.products)),
      (
        "timings",
        .array(
          timings.map {
            [
              "model": .string($0.model), "tokens": .integer($0.tokens),
              "operation": .string($0.name), "milliseconds": .double($0.milliseconds),
              "flop": .double($0.operationCount), "bytes": .double($0.byteCount),
            ]
          })
      ),
    ])
  }
}

extension String {
  fileprivate func padded(_ width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
