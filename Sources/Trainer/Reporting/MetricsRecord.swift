internal import Support

/// What `metrics.jsonl` says about one step.
package struct MetricsRecord: Sendable, Equatable {
  /// 1-based.
  package var step: Int
  /// Nats per target token, without the router's loss.
  package var loss: Double?
  /// Unscaled mean over the packs; 0 for models without router.
  package var routerLoss: Double?
  /// Before clipping.
  package var gradientNorm: Double?
  package var learningRate: Double?
  package var targetTokens: Int?
  package var tokens: Int?
  package var tokensPerSecond: Double?
  package var stepSeconds: Double?
  /// Of rank 0.
  package var times: StepTimes?
  /// By this step, over all ranks.
  package var bytesSent: Int?
  package var peakMemoryByteCount: Int?
  /// On evaluation steps.
  package var evaluationLoss: Double?

  package init(step: Int) { self.step = step }

  /// The record as a JSON object; what is nil is left out.
  var json: JSONValue {
    var object = JSONObject()
    object["step"] = .integer(step)
    object["loss"] = loss.map { .double($0) }
    object["router_loss"] = routerLoss.map { .double($0) }
    object["gradient_norm"] = gradientNorm.map { .double($0) }
    object["learning_rate"] = learningRate.map { .double($0) }
    object["target_tokens"] = targetTokens.map { .integer($0) }
    object["tokens"] = tokens.map { .integer($0) }
    object["tokens_per_second"] = tokensPerSecond.map { .double($0) }
    object["step_seconds"] = stepSeconds.map { .double($0) }
    object["phase_seconds"] = times.map { times in
      .object(
        JSONObject(StepTimes.Part.allCases.map { ($0.rawValue, .double(times[$0])) }))
    }
    object["bytes_sent"] = bytesSent.map { .integer($0) }
    object["peak_memory_bytes"] = peakMemoryByteCount.map { .integer($0) }
    object["eval_loss"] = evaluationLoss.map { .double($0) }
    return .object(object)
  }
}
