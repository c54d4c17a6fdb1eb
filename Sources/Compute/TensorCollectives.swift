/// Collectives over the tensors of a device, beside its computation.
///
/// Every rank starts the same collectives in the same order. A collective sends what the device has
/// computed of what was asked of it before the start. Until ``wait()`` nothing may write to what is
/// sent, and what is received is undefined; what is asked of the device after `wait` sees it. One
/// thread uses the object.
package protocol TensorCollectives: AnyObject {
  /// This process's number among the ranks.
  var rank: Int { get }
  var worldSize: Int { get }
  /// Bytes that this rank handed to other ranks since the start: what it contributed to each
  /// collective, times the ranks it went to.
  var bytesSent: Int { get }
  /// Whether what is sent passes through the host's memory, so that tensors which are only ever
  /// sent had better lie there.
  var sendsFromHost: Bool { get }

  /// Begins to concatenate the bytes of all ranks on all ranks.
  ///
  /// - Parameters:
  ///   - send: `byteCounts[rank]` bytes; may lie at its own place inside `whole`.
  ///   - whole: the sum of `byteCounts` in bytes; overwritten.
  ///   - byteCounts: of each rank, the same on all ranks.
  /// - Throws: ``ComputeError`` or `UserError` when the device, a rank or the network fails.
  func startAllGather(_ send: Tensor, into whole: Tensor, byteCounts: [Int]) throws

  /// Begins to send bytes of each rank to each other rank.
  ///
  /// - Parameters:
  ///   - sends: what each rank gets; nil for nothing, and for this rank.
  ///   - receives: where each rank's bytes arrive; as many as it sends; must not overlap `sends`.
  /// - Throws: as ``startAllGather(_:into:byteCounts:)``.
  func startAllToAll(_ sends: [Tensor?], into receives: [Tensor?]) throws

  /// Makes what is asked of the device from now on see what was received.
  ///
  /// - Throws: the first failure of what was started, as far as it is known.
  func wait() throws
}
