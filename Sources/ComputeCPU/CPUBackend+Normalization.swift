package import Compute

extension CPUBackend {
  package func embedding(_ ids: Tensor, _ table: BaseMatrix, out: Tensor) throws(ComputeError) {
    precondition(out.rows == ids.count && out.columns == table.columns, "embedding: shapes differ")
    let ids = unsafe ids.int32s
    let result = unsafe out.floats
    let C = table.columns
    let decoder = MatrixDecoder(table)
    forEachRowChunk(out.rows, columns: C) { rows in
      for t in rows { unsafe decoder.decode(Int(ids[t]) * C, count: C, to: result + t * C) }
    }
  }

  package func rmsNorm(
    _ x: Tensor, weight: Tensor, epsilon: Float, out: Tensor, reciprocalRMS: Tensor
  ) throws(ComputeError) {
    let C = x.columns
    precondition(
      out.rows == x.rows && out.columns == C && weight.count == C && reciprocalRMS.count == x.rows,
      "rmsNorm: x [\(x.rows), \(C)], weight \(weight.count), out [\(out.rows), \(out.columns)]")
    let values = unsafe x.floats
    let weight = unsafe weight.floats
    let result = unsafe out.floats
    let reciprocals = unsafe reciprocalRMS.floats
    forEachRowChunk(x.rows, columns: C) { rows in
      for t in rows {
        let x = unsafe values + t * C
        let out = unsafe result + t * C
        var squares = Lanes.zero
        forEachLanes(C) { i, w in
          let lanes = unsafe x.lanes(i, w)
          squares += lanes * lanes
        }
        let reciprocal = 1 / (squares.total / Float(C) + epsilon).squareRoot()
        unsafe reciprocals[t] = reciprocal
        forEachLanes(C) { i, w in
          unsafe out.store(x.lanes(i, w) * reciprocal * weight.lanes(i, w), i, w)
        }
      }
    }
  }

  package func rmsNormBackward(
    _ dy: Tensor, x: Tensor, weight: Tensor, reciprocalRMS: Tensor, dx: Tensor
  ) throws(ComputeError) {
    let C = x.columns
    precondition(
      dy.rows == x.rows && dy.columns == C && dx.rows == x.rows && dx.columns == C
        && weight.count == C && reciprocalRMS.count == x.rows, "rmsNormBackward: shapes differ")
    let values = unsafe x.floats
    let weight = unsafe weight.floats
    let gradients = unsafe dy.floats
    let result = unsafe dx.floats
    let reciprocals = unsafe reciprocalRMS.floats
    forEachRowChunk(x.rows, columns: C) { rows in
      for t in rows {
        let x = unsafe values + t * C
        let dy = unsafe gradients + t * C
        let dx = unsafe result + t * C
        let reciprocal = unsafe reciprocals[t]
        var products = Lanes.zero
        forEachLanes(C) { i, w in
          unsafe products += dy.lanes(i, w) * weight.lanes(i, w) * x.lanes(i, w)
        }
        let projection = products.total * reciprocal * reciprocal * reciprocal / Float(C)
        forEachLanes(C) { i, w in
          let direct = unsafe dy.lanes(i, w) * weight.lanes(i, w) * reciprocal
          unsafe dx.store(dx.lanes(i, w) + direct - x.lanes(i, w) * projection, i, w)
        }
      }
    }
  }

  package func rotary(
    _ x: Tensor, positions: Tensor, table: Tensor, headWidth: Int, inverse: Bool
  ) throws(ComputeError) {
    let half = headWidth / 2
    precondition(
      x.columns % headWidth == 0 && headWidth % 2 == 0 && positions.count == x.rows
        && table.columns == half && table.rows % 2 == 0, "rotary: shapes differ")
    let values = unsafe x.floats
    let positions = unsafe positions.int32s
    let cosines = unsafe table.floats
    let sines = unsafe cosines + table.count / 2
    let positionCount = table.rows / 2
    let heads = x.columns / headWidth
    let sign: Float = inverse ? -1 : 1
    forEachRowChunk(x.rows, columns: x.columns) { rows in
      for t in rows {
        let position = unsafe Int(positions[t])
        precondition(position >= 0 && position < positionCount, "position \(position)")
        let cosine = unsafe cosines + position * half
        let sine = unsafe sines + position * half
        for head in 0..<heads {
          let low = unsafe values + (t * heads + head) * headWidth
          let high = unsafe low + half
          forEachLanes(half) { i, w in
            let a = unsafe low.lanes(i, w)
            let b = unsafe high.lanes(i, w)
            let c = unsafe cosine.lanes(i, w)
            let s = unsafe sine.lanes(i, w) * sign
            unsafe low.store(a * c - b * s, i, w)
            unsafe high.store(b * c + a * s, i, w)
          }
        }
      }
    }
  }
}
