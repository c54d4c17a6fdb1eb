package import Compute
internal import Glibc

// Layers written as their formulas in double precision, one element after another.
package enum Reference {
  package static func rmsNorm(_ x: Matrix, weight: Matrix, epsilon: Double) -> Matrix {
    var out = x
    for t in 0..<x.rows {
      let r = reciprocalRMS(x, t, epsilon)
      for c in 0..<x.columns { out[t, c] = x[t, c] * r * weight[0, c] }
    }
    return out
  }

  package static func reciprocalRMS(_ x: Matrix, _ t: Int, _ epsilon: Double) -> Double {
    var sum = 0.0
    for c in 0..<x.columns { sum += x[t, c] * x[t, c] }
    return 1 / (sum / Double(x.columns) + epsilon).squareRoot()
  }

  package static func rotary(
    _ x: Matrix, positions: [Int32], table: Matrix, headWidth: Int, inverse: Bool
  ) -> Matrix {
    var out = x
    let half = headWidth / 2
    let positionCount = table.rows / 2
    for t in 0..<x.rows {
      let position = Int(positions[t])
      for head in 0..<x.columns / headWidth {
        for d in 0..<half {
          let (low, high) = (head * headWidth + d, head * headWidth + d + half)
          let cosine = table[position, d]
          let sine = table[positionCount + position, d] * (inverse ? -1 : 1)
          out[t, low] = x[t, low] * cosine - x[t, high] * sine
          out[t, high] = x[t, high] * cosine + x[t, low] * sine
        }
      }
    }
    return out
  }

  package static func silu(_ x: Double) -> Double { x / (1 + exp(-x)) }

  package static func swiGLU(_ gate: Matrix, _ up: Matrix) -> Matrix {
    Matrix(gate.rows, gate.columns, zip(gate.values, up.values).map { silu($0) * $1 })
  }

  /// Output and, head by head, the logarithm of the sum of exponentials.
  package static func attention(_ q: Matrix, _ k: Matrix, _ v: Matrix, _ shape: AttentionShape)
    -> (out: Matrix, logSumExp: Matrix)
  {
    let D = shape.headWidth
    var out = Matrix(q.rows, q.columns)
    var logs = Matrix(shape.queryHeads, q.rows)
    for segment in shape.segments {
      let cached = segment.keys.count - segment.queries.count
      for head in 0..<shape.queryHeads {
        let group = head * shape.keyValueHeads / shape.queryHeads
        for query in segment.queries {
          let place = query - segment.queries.lowerBound + cached
          let window = shape.slidingWindow ?? segment.keys.count
          let seen = max(0, place - window + 1)...place
          let scores = seen.map { key in
            (0..<D).reduce(0.0) {
              $0 + q[query, head * D + $1] * k[segment.keys.lowerBound + key, group * D + $1]
            } / Double(D).squareRoot()
          }
          let largest = scores.max() ?? 0
          let sum = scores.reduce(0) { $0 + exp($1 - largest) }
          logs[head, query] = largest + log(sum)
          for (key, score) in zip(seen, scores) {
            let probability = exp(score - largest) / sum
            for d in 0..<D {
              out[query, head * D + d] +=
                probability * v[segment.keys.lowerBound + key, group * D + d]
            }
          }
        }
      }
    }
    return (out, logs)
  }

  package static func softmax(_ x: Matrix) -> Matrix {
    var out = x
    for t in 0..<x.rows {
      let row = (0..<x.columns).map { x[t, $0] }
      let largest = row.max() ?? 0
      let sum = row.reduce(0) { $0 + exp($1 - largest) }
      for e in 0..<x.columns { out[t, e] = exp(row[e] - largest) / sum }
    }
    return out
  }

  /// Negative log-likelihoods, `[1, n]`.
  package static func crossEntropy(_ logits: Matrix, _ targets: [Int32]) -> Matrix {
    let losses = (0..<logits.rows).map { i in
      let row = (0..<logits.columns).map { logits[i, $0] }
      let largest = row.max() ?? 0
      return log(row.reduce(0) { $0 + exp($1 - largest) }) + largest - row[Int(targets[i])]
    }
    return Matrix(1, logits.rows, losses)
  }

  /// The experts of each token, best first; of equals the lower.
  package static func topExperts(_ probabilities: Matrix, _ K: Int) -> [[Int]] {
    (0..<probabilities.rows).map { t in
      let order = (0..<probabilities.columns).sorted {
        let (a, b) = (probabilities[t, $0], probabilities[t, $1])
        return a == b ? $0 < $1 : a > b
      }
      return Array(order[..<K])
    }
  }

  /// The weights of given experts as a function of the logits, `[T, K]`.
  package static func expertWeights(_ logits: Matrix, _ experts: [[Int]], normalize: Bool)
    -> Matrix
  {
    let p = softmax(logits)
    let K = experts.first?.count ?? 0
    var out = Matrix(logits.rows, K)
    for t in 0..<logits.rows {
      let sum = normalize ? experts[t].reduce(0) { $0 + p[t, $1] } : 1
      for k in 0..<K { out[t, k] = p[t, experts[t][k]] / sum }
    }
    return out
  }
}
