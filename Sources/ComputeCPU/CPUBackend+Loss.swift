package import Compute
internal import Glibc

/// The natural logarithm.
func logarithm(_ x: Float) -> Float { Float(Glibc.log(Double(x))) }

extension CPUBackend {
  package func selectRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    precondition(
      out.rows == rows.count && out.columns == x.columns && out.elementType == x.elementType,
      "selectRows: shapes differ")
    let rowByteCount = x.columns * x.elementType.byteCount
    let sourceRows = x.rows
    let x = unsafe x.address
    let rows = unsafe rows.int32s
    let result = unsafe out.address
    forEachRowChunk(out.rows, columns: out.columns) { range in
      for i in range {
        unsafe precondition(rows[i] >= 0 && Int(rows[i]) < sourceRows)
        unsafe (result + i * rowByteCount).copyMemory(
          from: x + Int(rows[i]) * rowByteCount, byteCount: rowByteCount)
      }
    }
  }

  package func placeRows(_ x: Tensor, rows: Tensor, out: Tensor) throws(ComputeError) {
    precondition(x.rows == rows.count && out.columns == x.columns, "placeRows: shapes differ")
    let C = x.columns
    let outRows = out.rows
    let count = x.rows
    let x = unsafe x.floats
    let rows = unsafe rows.int32s
    let out = unsafe out.floats
    forEachRowChunk(count, columns: C) { range in
      for i in range {
        unsafe precondition(rows[i] >= 0 && Int(rows[i]) < outRows)
        unsafe (out + Int(rows[i]) * C).update(from: x + i * C, count: C)
      }
    }
  }

  package func crossEntropy(
    logits: Tensor, targets: Tensor, losses: Tensor, gradientScale: Float?
  ) throws(ComputeError) {
    let V = logits.columns
    precondition(targets.count == logits.rows && losses.count == logits.rows)
    let rowCount = logits.rows
    let logits = unsafe logits.floats
    let targets = unsafe targets.int32s
    let losses = unsafe losses.floats
    forEachRowChunk(rowCount, columns: V) { rows in
      for i in rows {
        let row = unsafe logits + i * V
        let target = unsafe Int(targets[i])
        precondition(target >= 0 && target < V, "target \(target) of \(V)")
        var maxima = Lanes(repeating: -.infinity)
        forEachLanes(V / 8 * 8) { j, w in maxima = unsafe pointwiseMax(maxima, row.lanes(j, w)) }
        var largest = maxima.max()
        for j in V / 8 * 8..<V { largest = unsafe max(largest, row[j]) }
        let targetLogit = unsafe row[target]
        // Sums of up to 1024 lanes in float32, these in double precision.
        var sum = 0.0
        for first in stride(from: 0, to: V, by: 1024) {
          let part = unsafe row + first
          var sums = Lanes.zero
          forEachLanes(min(1024, V - first)) { j, w in
            let e = unsafe exponential(part.lanes(j, w) - largest).first(w)
            if gradientScale != nil { unsafe part.store(e, j, w) }
            sums += e
          }
          sum += Double(sums.total)
        }
        unsafe losses[i] = Float(Glibc.log(sum) + Double(largest) - Double(targetLogit))
        guard let gradientScale else { continue }
        let factor = Float(Double(gradientScale) / sum)
        forEachLanes(V) { j, w in unsafe row.store(row.lanes(j, w) * factor, j, w) }
        unsafe row[target] -= gradientScale
      }
    }
  }

  package func argmax(_ x: Tensor, out: Tensor) throws(ComputeError) {
    precondition(out.count == x.rows && x.columns > 0)
    let V = x.columns
    let values = unsafe x.floats
    let out = unsafe out.int32s
    forEachRowChunk(x.rows, columns: V) { rows in
      for i in rows {
        let row = unsafe values + i * V
        var best = 0
        for j in 1..<V where unsafe row[j] > row[best] { best = j }
        unsafe out[i] = Int32(best)
      }
    }
  }
}
