package import Compute

extension CPUBackend {
  package func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError)
    -> [Int]
  {
    let T = logits.rows
    let E = logits.columns
    let K = routing.experts.columns
    precondition(
      K <= E && routing.probabilities.count == T * E && routing.experts.rows == T
        && routing.weights.count == T * K && routing.tokenOfRow.count == T * K
        && routing.rowOfToken.count == T * K && routing.probabilitySums.count == E,
      "route: shapes differ")
    let logits = unsafe logits.floats
    let probabilities = unsafe routing.probabilities.floats
    let experts = unsafe routing.experts.int32s
    let weights = unsafe routing.weights.floats
    forEachRowChunk(T, columns: 8 * E) { rows in
      for t in rows {
        let row = unsafe logits + t * E
        let p = unsafe probabilities + t * E
        var largest = unsafe row[0]
        for e in 1..<E { largest = unsafe max(largest, row[e]) }
        var sum: Float = 0
        for e in 0..<E {
          unsafe p[e] = unsafe exponential(Lanes(repeating: row[e] - largest))[0]
          unsafe sum += p[e]
        }
        for e in 0..<E { unsafe p[e] /= sum }
        var chosen: Float = 0
        for k in 0..<K {
          var best = -1
          for e in 0..<E where unsafe best < 0 || p[e] > p[best] {
            var isTaken = false
            for other in 0..<k where unsafe experts[t * K + other] == Int32(e) { isTaken = true }
            if !isTaken { best = e }
          }
          unsafe experts[t * K + k] = Int32(best)
          unsafe weights[t * K + k] = unsafe p[best]
          unsafe chosen += p[best]
        }
        if normalize { for k in 0..<K { unsafe weights[t * K + k] /= chosen } }
      }
    }

    // Rows by expert, then token: a counting sort.
    var counts = [Int](repeating: 0, count: E)
    for i in 0..<T * K { unsafe counts[Int(experts[i])] += 1 }
    var next = [Int](repeating: 0, count: E)
    for e in 1..<E { next[e] = next[e - 1] + counts[e - 1] }
    let tokenOfRow = unsafe routing.tokenOfRow.int32s
    let rowOfToken = unsafe routing.rowOfToken.int32s
    for i in 0..<T * K {
      let e = unsafe Int(experts[i])
      unsafe rowOfToken[i] = Int32(next[e])
      unsafe tokenOfRow[next[e]] = Int32(i / K)
      next[e] += 1
    }

    let sums = unsafe routing.probabilitySums.floats
    for e in 0..<E {
      var sum = 0.0
      for t in 0..<T { unsafe sum += Double(probabilities[t * E + e]) }
      unsafe sums[e] = Float(sum)
    }
    return counts
  }

  package func routeBackward(
    dweights: Tensor, normalize: Bool, probabilityGradient: Tensor, routing: Routing,
    dlogits: Tensor
  ) throws(ComputeError) {
    let T = dlogits.rows
    let E = dlogits.columns
    let K = routing.experts.columns
    precondition(dweights.count == T * K && probabilityGradient.count == E)
    let probabilities = unsafe routing.probabilities.floats
    let experts = unsafe routing.experts.int32s
    let weights = unsafe routing.weights.floats
    let dweights = unsafe dweights.floats
    let common = unsafe probabilityGradient.floats
    let dlogits = unsafe dlogits.floats
    forEachRowChunk(T, columns: 8 * E) { rows in
      for t in rows {
        let p = unsafe probabilities + t * E
        // First the gradient of the probabilities, in the place of the logits'.
        let dp = unsafe dlogits + t * E
        for e in 0..<E { unsafe dp[e] = unsafe common[e] }
        if normalize {
          var chosen: Float = 0
          var projection: Float = 0
          for k in 0..<K {
            unsafe chosen += p[Int(experts[t * K + k])]
            unsafe projection += dweights[t * K + k] * weights[t * K + k]
          }
          for k in 0..<K {
            unsafe dp[Int(experts[t * K + k])] += (dweights[t * K + k] - projection) / chosen
          }
        } else {
          for k in 0..<K { unsafe dp[Int(experts[t * K + k])] += dweights[t * K + k] }
        }
        var mean: Float = 0
        for e in 0..<E { unsafe mean += p[e] * dp[e] }
        for e in 0..<E { unsafe dp[e] = unsafe p[e] * (dp[e] - mean) }
      }
    }
  }

  package func gatherRows(_ x: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    try selectRows(x, rows: routing.tokenOfRow, out: out)
  }

  package func gatherRowsBackward(_ dy: Tensor, routing: Routing, dx: Tensor)
    throws(ComputeError)
  {
    let C = dx.columns
    let K = routing.experts.columns
    precondition(dy.columns == C && dy.rows == dx.rows * K)
    let dy = unsafe dy.floats
    let rowOfToken = unsafe routing.rowOfToken.int32s
    let dx = unsafe dx.floats
    forEachRowChunk(routing.experts.rows, columns: C) { rows in
      for t in rows {
        let sum = unsafe dx + t * C
        for k in 0..<K {
          let row = unsafe dy + Int(rowOfToken[t * K + k]) * C
          forEachLanes(C) { i, w in
            unsafe sum.store(k == 0 ? row.lanes(i, w) : sum.lanes(i, w) + row.lanes(i, w), i, w)
          }
        }
      }
    }
  }

  package func combineExperts(_ y: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    let C = out.columns
    let K = routing.experts.columns
    precondition(y.columns == C && y.rows == out.rows * K)
    let y = unsafe y.floats
    let rowOfToken = unsafe routing.rowOfToken.int32s
    let weights = unsafe routing.weights.floats
    let result = unsafe out.floats
    forEachRowChunk(out.rows, columns: C) { rows in
      for t in rows {
        let out = unsafe result + t * C
        for k in 0..<K {
          let row = unsafe y + Int(rowOfToken[t * K + k]) * C
          let weight = unsafe weights[t * K + k]
          forEachLanes(C) { i, w in
            unsafe out.store(out.lanes(i, w) + row.lanes(i, w) * weight, i, w)
          }
        }
      }
    }
  }

  package func combineExpertsBackward(
    _ dout: Tensor, y: Tensor, routing: Routing, dy: Tensor, dweights: Tensor
  ) throws(ComputeError) {
    let C = dout.columns
    let K = routing.experts.columns
    precondition(y.rows == dout.rows * K && dy.count == y.count && dweights.count == y.rows)
    let gradients = unsafe dout.floats
    let y = unsafe y.floats
    let rowOfToken = unsafe routing.rowOfToken.int32s
    let weights = unsafe routing.weights.floats
    let dy = unsafe dy.floats
    let dweights = unsafe dweights.floats
    forEachRowChunk(dout.rows, columns: C) { rows in
      for t in rows {
        let dout = unsafe gradients + t * C
        for k in 0..<K {
          let row = unsafe Int(rowOfToken[t * K + k]) * C
          let weight = unsafe weights[t * K + k]
          var products = Lanes.zero
          forEachLanes(C) { i, w in
            let d = unsafe dout.lanes(i, w)
            unsafe products += d * (y + row).lanes(i, w)
            unsafe (dy + row).store(d * weight, i, w)
          }
          unsafe dweights[t * K + k] = products.total
        }
      }
    }
  }
}
