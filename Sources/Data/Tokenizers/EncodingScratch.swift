internal import Synchronization

/// What one thread needs while it encodes; kept for the next text.
struct EncodingScratch: Sendable {
  var cache = WordCache()
  var merging = BytePairMerger.Workspace()
}

/// Workspaces that wait for their next use, at most one for each thread that ever encoded at once.
final class ScratchPool: Sendable {
  private let idle = Mutex<[EncodingScratch]>([])

  func with<Result, Failure: Error>(
    _ body: (inout EncodingScratch) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    var scratch = idle.withLock { $0.popLast() } ?? EncodingScratch()
    defer { idle.withLock { $0.append(scratch) } }
    return try body(&scratch)
  }
}
