internal import CCUDA
package import Compute
internal import Synchronization

/// How an attention is cut into blocks of threads: kernels/attention.cuh. Longest first, so that the
/// last ones to run are short.
struct AttentionBlocks {
  /// Rows of a block.
  static let rows = 64
  /// Bytes of a block's fields.
  static let byteCount = 16

  let segments: [AttentionShape.Segment]
  /// `[blocks, 4]` int32: first query, queries, first key of the sample, and the key that query 0
  /// would stand at.
  let queries: Tensor
  /// `[blocks, 4]` int32: first key, keys, end of the sample's queries, nothing.
  let keys: Tensor

  static func queryBlocks(_ segments: [AttentionShape.Segment]) -> [[Int32]] {
    var blocks: [(work: Int, fields: [Int32])] = []
    for segment in segments {
      let shift = segment.keys.upperBound - segment.queries.upperBound
      for first in stride(
        from: segment.queries.lowerBound, to: segment.queries.upperBound, by: rows)
      {
        let end = min(first + rows, segment.queries.upperBound)
        blocks.append(
          (
            end + shift - segment.keys.lowerBound,
            [
              Int32(first), Int32(end - first), Int32(segment.keys.lowerBound), Int32(shift),
            ]
          ))
      }
    }
    return longestFirst(blocks)
  }

  static func keyBlocks(_ segments: [AttentionShape.Segment]) -> [[Int32]] {
    var blocks: [(work: Int, fields: [Int32])] = []
    for segment in segments {
      for first in stride(from: segment.keys.lowerBound, to: segment.keys.upperBound, by: rows) {
        let end = segment.queries.upperBound
        blocks.append(
          (
            end - first,
            [Int32(first), Int32(min(rows, segment.keys.upperBound - first)), Int32(end), 0]
          ))
      }
    }
    return longestFirst(blocks)
  }

  private static func longestFirst(_ blocks: [(work: Int, fields: [Int32])]) -> [[Int32]] {
    blocks.enumerated().sorted { a, b in
      (b.element.work, a.offset) < (a.element.work, b.offset)
    }.map(\.element.fields)
  }
}

extension CUDABackend {
  /// Channels that a head is padded to for the tensor cores; nil for the float32 kernels.
  func roundedWidth(_ width: Int) -> Int? {
    precision == .bfloat16 ? [32, 64, 96, 128].first { $0 >= width } : nil
  }

  package func attention(
    q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, out: Tensor, logSumExp: Tensor
  ) throws(ComputeError) {
    try check(q, k, v, shape)
    precondition(
      out.rows == q.rows && out.columns == q.columns && logSumExp.count == q.rows * shape.queryHeads
    )
    let blocks = try blocks(shape)
    let grid = LaunchGrid(blocks.queries.rows, shape.queryHeads)
    let results = [KernelArgument(out), KernelArgument(logSumExp), sizes(q, shape)]
    guard let width = roundedWidth(shape.headWidth) else {
      return try launch(
        "attention_forward", grid,
        [KernelArgument(blocks.queries), KernelArgument(q), KernelArgument(k), KernelArgument(v)]
          + results)
    }
    // Queries, and two tiles each of keys and values.
    try launch(
      "attention_forward_\(width)", grid, sharedByteCount: 5 * 64 * (width + 8) * 2,
      [KernelArgument(blocks.queries)] + operands(q, k, v, nil, shape, width) + results)
  }

  package func attentionBackward(
    _ dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSumExp: Tensor,
    shape: AttentionShape, dq: Tensor, dk: Tensor, dv: Tensor
  ) throws(ComputeError) {
    try check(q, k, v, shape)
    precondition(
      dout.count == q.count && out.count == q.count && dq.count == q.count && dk.count == k.count
        && dv.count == v.count && shape.segments.allSatisfy { $0.queries == $0.keys })
    let (T, H) = (q.rows, shape.queryHeads)
    let deltas = try workspace.tensor(.deltas, rows: H, columns: T, .float32)
    try launch(
      "attention_deltas", items: 32 * T * H,
      [
        KernelArgument(dout), KernelArgument(out), KernelArgument(deltas), KernelArgument(Int32(T)),
        KernelArgument(Int32(H)), KernelArgument(Int32(shape.headWidth)),
      ])
    let blocks = try blocks(shape)
    let width = roundedWidth(shape.headWidth)
    let suffix = width.map { "_\($0)" } ?? ""
    // Two tiles of 64 rows, and twice two of 32.
    let sharedByteCount = width.map { 256 * ($0 + 8) * 2 } ?? 0
    let operands =
      try width.map { (width) throws(ComputeError) in
        try self.operands(q, k, v, dout, shape, width)
      }
      ?? [KernelArgument(dout), KernelArgument(q), KernelArgument(k), KernelArgument(v)]
    let statistics = [KernelArgument(logSumExp), KernelArgument(deltas)]
    try launch(
      "attention_backward_q\(suffix)", LaunchGrid(blocks.queries.rows, H),
      sharedByteCount: sharedByteCount,
      [KernelArgument(blocks.queries)] + operands + statistics
        + [KernelArgument(dq), sizes(q, shape)])
    try launch(
      "attention_backward_kv\(suffix)", LaunchGrid(blocks.keys.rows, shape.keyValueHeads),
      sharedByteCount: sharedByteCount,
      [KernelArgument(blocks.keys)] + operands + statistics
        + [KernelArgument(dk), KernelArgument(dv), sizes(q, shape)])
  }

  private func check(_ q: Tensor, _ k: Tensor, _ v: Tensor, _ shape: AttentionShape)
    throws(ComputeError)
  {
    precondition(
      q.columns == shape.queryHeads * shape.headWidth
        && k.columns == shape.keyValueHeads * shape.headWidth && v.columns == k.columns
        && v.rows == k.rows
        && shape.segments.allSatisfy {
          $0.queries.upperBound <= q.rows && $0.keys.upperBound <= k.rows
        },
      "attention: q [\(q.rows), \(q.columns)], k [\(k.rows), \(k.columns)], v [\(v.rows), \(v.columns)]"
    )
    guard shape.headWidth <= 256 else {
      throw ComputeError(
        "attention heads of \(shape.headWidth) channels: the kernels take up to 256")
    }
  }

  private func sizes(_ q: Tensor, _ shape: AttentionShape) -> KernelArgument {
    KernelArgument(
      ccuda_attention_sizes(
        tokens: Int32(q.rows), heads: Int32(shape.queryHeads),
        key_heads: Int32(shape.keyValueHeads), width: Int32(shape.headWidth),
        window: Int32(clamping: shape.slidingWindow ?? 0), scale: shape.scale))
  }

  /// The operands rounded to bfloat16, heads padded with zeros.
  private func operands(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, _ dout: Tensor?, _ shape: AttentionShape, _ width: Int
  ) throws(ComputeError) -> [KernelArgument] {
    var arguments: [KernelArgument] = []
    for (part, x) in [
      (CUDAWorkspace.Part.gradients, dout), (.queries, q), (.keys, k), (.values, v),
    ] {
      guard let x else { continue }
      let heads = x.count / shape.headWidth
      let out = try workspace.tensor(part, rows: heads, columns: width, .bfloat16)
      try round(x.reshaped(rows: heads, columns: shape.headWidth), to: out)
      arguments.append(KernelArgument(out))
    }
    return arguments
  }

  /// The blocks of these samples; made once for all layers of a pack.
  private func blocks(_ shape: AttentionShape) throws(ComputeError) -> AttentionBlocks {
    if let known = attentionBlocks.withLock({ $0 }), known.segments == shape.segments {
      return known
    }
    func upload(_ part: CUDAWorkspace.Part, _ blocks: [[Int32]]) throws(ComputeError) -> Tensor {
      let tensor = try workspace.tensor(part, rows: blocks.count, columns: 4, .int32)
      try self.upload(blocks.flatMap { $0 }, to: tensor)
      return tensor
    }
    let blocks = AttentionBlocks(
      segments: shape.segments,
      queries: try upload(.queryBlocks, AttentionBlocks.queryBlocks(shape.segments)),
      keys: try upload(.keyBlocks, AttentionBlocks.keyBlocks(shape.segments)))
    attentionBlocks.withLock { $0 = blocks }
    return blocks
  }
}
