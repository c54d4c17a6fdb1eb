import Compute
import ComputeCPU
import Synchronization
import TestSupport

/// A CPU backend that remembers which experts its routers chose.
final class RoutingRecorder: ForwardingBackend {
  let inner: any Backend = CPUBackend(threadCount: 1)
  private let choices = Mutex<[[Int32]]>([])

  func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError) -> [Int] {
    let counts = try inner.route(logits, normalize: normalize, routing: routing)
    let experts = try inner.downloadInt32(routing.experts)
    choices.withLock { $0.append(experts) }
    return counts
  }

  /// The experts of every token and layer that were chosen since this was asked last.
  func takeChoices() -> [[Int32]] {
    choices.withLock { list in
      let taken = list
      list = []
      return taken
    }
  }
}
