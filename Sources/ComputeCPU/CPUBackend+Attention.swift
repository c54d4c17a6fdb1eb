package import Compute

/// Queries of one block of scores.
let queryBlock = 64

extension CPUBackend {
  package func attention(
    q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, out: Tensor, logSumExp: Tensor
  ) throws(ComputeError) {
    let pointers = unsafe checked(q, k, v, shape)
    precondition(
      out.rows == q.rows && out.columns == q.columns && logSumExp.count == q.rows * shape.queryHeads
    )
    let out = unsafe out.floats
    let logSumExp = unsafe logSumExp.floats
    let T = q.rows
    let (D, H) = (shape.headWidth, shape.queryHeads)
    let (widthQ, widthK) = (H * D, shape.keyValueHeads * D)
    pool.forEachTile(shape.segments.count * H) { tile, worker in
      let segment = shape.segments[tile / H]
      let head = tile % H
      let keyHead = head / (H / shape.keyValueHeads)
      let scores = unsafe scratch.bytes(
        CPUWorkspace.scores(keys: segment.keys.count, isBackward: false), worker: worker
      ).assumingMemoryBound(to: Float.self)
      forEachBlock(segment, shape.slidingWindow) { queries, keys in
        unsafe scoreBlock(pointers, shape, head, queries, keys, scores)
        for (row, query) in queries.enumerated() {
          let visible = visibleKeys(query, segment, keys, shape.slidingWindow)
          let sum = unsafe softmax(scores + row * keys.count, keys.count, visible)
          unsafe logSumExp[head * T + query] = sum
        }
        unsafe sgemm(
          m: queries.count, n: D, k: keys.count, scores, keys.count,
          pointers.v + keys.lowerBound * widthK + keyHead * D, widthK, accumulate: false,
          out + queries.lowerBound * widthQ + head * D, widthQ)
      }
    }
  }

  package func attentionBackward(
    _ dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSumExp: Tensor,
    shape: AttentionShape, dq: Tensor, dk: Tensor, dv: Tensor
  ) throws(ComputeError) {
    let pointers = unsafe checked(q, k, v, shape)
    precondition(
      dout.count == q.count && out.count == q.count && dq.count == q.count && dk.count == k.count
        && dv.count == v.count)
    let T = q.rows
    let (D, H, G) = (shape.headWidth, shape.queryHeads, shape.keyValueHeads)
    let (widthQ, widthK) = (H * D, G * D)
    let (dout, out, logSumExp) = unsafe (dout.floats, out.floats, logSumExp.floats)
    let (dq, dk, dv) = unsafe (dq.floats, dk.floats, dv.floats)
    unsafe try zero(dkTensor: dk, count: k.count)
    unsafe try zero(dkTensor: dv, count: v.count)
    // A tile owns one key/value head of one sample, and so all that is summed into it.
    pool.forEachTile(shape.segments.count * G) { tile, worker in
      let segment = shape.segments[tile / G]
      precondition(segment.queries == segment.keys)
      let keyHead = tile % G
      let scores = unsafe scratch.bytes(
        CPUWorkspace.scores(keys: segment.keys.count, isBackward: true), worker: worker
      ).assumingMemoryBound(to: Float.self)
      for head in keyHead * (H / G)..<(keyHead + 1) * (H / G) {
        forEachBlock(segment, shape.slidingWindow) { queries, keys in
          let K = keys.count
          let dscores = unsafe scores + queryBlock * segment.keys.count
          let keyOffset = keys.lowerBound * widthK + keyHead * D
          let queryOffset = queries.lowerBound * widthQ + head * D
          unsafe scoreBlock(pointers, shape, head, queries, keys, scores)
          unsafe sgemm(
            transposeB: true, m: queries.count, n: K, k: D, dout + queryOffset, widthQ,
            pointers.v + keyOffset, widthK, accumulate: false, dscores, K)
          for (row, query) in queries.enumerated() {
            let visible = visibleKeys(query, segment, keys, shape.slidingWindow)
            let probabilities = unsafe scores + row * K
            let gradients = unsafe dscores + row * K
            unsafe probabilitiesInPlace(
              probabilities, K, visible, logSumExp: logSumExp[head * T + query])
            var products = Lanes.zero
            forEachLanes(D) { i, w in
              unsafe products +=
                (dout + query * widthQ + head * D).lanes(i, w)
                * (out + query * widthQ + head * D).lanes(i, w)
            }
            // ds = p (dp - dout . out), and the factor of the scores.
            let delta = products.total
            forEachLanes(K) { i, w in
              unsafe gradients.store(
                probabilities.lanes(i, w) * (gradients.lanes(i, w) - delta) * shape.scale, i, w)
            }
          }
          unsafe sgemm(
            m: queries.count, n: D, k: K, dscores, K, pointers.k + keyOffset, widthK,
            accumulate: false, dq + queryOffset, widthQ)
          unsafe sgemm(
            transposeA: true, m: K, n: D, k: queries.count, dscores, K, pointers.q + queryOffset,
            widthQ, accumulate: true, dk + keyOffset, widthK)
          unsafe sgemm(
            transposeA: true, m: K, n: D, k: queries.count, scores, K, dout + queryOffset, widthQ,
            accumulate: true, dv + keyOffset, widthK)
        }
      }
    }
  }

  // MARK: Blocks

  @unsafe private struct Pointers {
    var q: UnsafeMutablePointer<Float>
    var k: UnsafeMutablePointer<Float>
    var v: UnsafeMutablePointer<Float>
  }

  private func checked(_ q: Tensor, _ k: Tensor, _ v: Tensor, _ shape: AttentionShape) -> Pointers {
    precondition(
      q.columns == shape.queryHeads * shape.headWidth
        && k.columns == shape.keyValueHeads * shape.headWidth && v.columns == k.columns
        && v.rows == k.rows
        && shape.segments.allSatisfy {
          $0.queries.upperBound <= q.rows && $0.keys.upperBound <= k.rows
        },
      "attention: q [\(q.rows), \(q.columns)], k [\(k.rows), \(k.columns)], v [\(v.rows), \(v.columns)]"
    )
    return unsafe Pointers(q: q.floats, k: k.floats, v: v.floats)
  }

  private func zero(dkTensor values: UnsafeMutablePointer<Float>, count: Int) throws(ComputeError) {
    forEachChunk(count, of: 1 << 16) { range in
      unsafe (values + range.lowerBound).update(repeating: 0, count: range.count)
    }
  }

  /// Blocks of queries with the keys that any of them sees.
  private func forEachBlock(
    _ segment: AttentionShape.Segment, _ window: Int?,
    _ body: (_ queries: Range<Int>, _ keys: Range<Int>) -> Void
  ) {
    let (samples, keys) = (segment.queries, segment.keys)
    let shift = keys.upperBound - samples.upperBound
    for first in stride(from: samples.lowerBound, to: samples.upperBound, by: queryBlock) {
      let queries = first..<min(first + queryBlock, samples.upperBound)
      let firstKey = window.map { max(keys.lowerBound, first + shift - $0 + 1) }
      body(queries, (firstKey ?? keys.lowerBound)..<queries.upperBound + shift)
    }
  }

  /// The keys a query sees, as offsets into `keys`.
  private func visibleKeys(
    _ query: Int, _ segment: AttentionShape.Segment, _ keys: Range<Int>, _ window: Int?
  ) -> Range<Int> {
    let own = query + segment.keys.upperBound - segment.queries.upperBound
    let first = window.map { max(keys.lowerBound, own - $0 + 1) } ?? keys.lowerBound
    return first - keys.lowerBound..<own + 1 - keys.lowerBound
  }

  /// Scaled scores of a block, `[queries, keys]`, not masked.
  private func scoreBlock(
    _ pointers: Pointers, _ shape: AttentionShape, _ head: Int, _ queries: Range<Int>,
    _ keys: Range<Int>, _ scores: UnsafeMutablePointer<Float>
  ) {
    let D = shape.headWidth
    let widthQ = shape.queryHeads * D
    let widthK = shape.keyValueHeads * D
    let keyHead = head / (shape.queryHeads / shape.keyValueHeads)
    unsafe sgemm(
      transposeB: true, m: queries.count, n: keys.count, k: D, alpha: shape.scale,
      pointers.q + queries.lowerBound * widthQ + head * D, widthQ,
      pointers.k + keys.lowerBound * widthK + keyHead * D, widthK, accumulate: false, scores,
      keys.count)
  }

  /// Softmax over the visible part of a row, zero elsewhere; returns the log of the sum of
  /// exponentials.
  private func softmax(_ row: UnsafeMutablePointer<Float>, _ count: Int, _ visible: Range<Int>)
    -> Float
  {
    let part = unsafe row + visible.lowerBound
    var largest = -Float.infinity
    for i in 0..<visible.count { largest = unsafe max(largest, part[i]) }
    var sums = Lanes.zero
    forEachLanes(visible.count) { i, w in
      let e = unsafe exponential(part.lanes(i, w) - largest).first(w)
      unsafe part.store(e, i, w)
      sums += e
    }
    let sum = sums.total
    let reciprocal = 1 / sum
    forEachLanes(visible.count) { i, w in unsafe part.store(part.lanes(i, w) * reciprocal, i, w) }
    unsafe clear(row, count, outside: visible)
    return largest + logarithm(sum)
  }

  /// The same probabilities from the saved log of the sum.
  private func probabilitiesInPlace(
    _ row: UnsafeMutablePointer<Float>, _ count: Int, _ visible: Range<Int>, logSumExp: Float
  ) {
    let part = unsafe row + visible.lowerBound
    forEachLanes(visible.count) { i, w in
      unsafe part.store(exponential(part.lanes(i, w) - logSumExp), i, w)
    }
    unsafe clear(row, count, outside: visible)
  }

  private func clear(_ row: UnsafeMutablePointer<Float>, _ count: Int, outside visible: Range<Int>)
  {
    unsafe row.update(repeating: 0, count: visible.lowerBound)
    unsafe (row + visible.upperBound).update(repeating: 0, count: count - visible.upperBound)
  }
}
