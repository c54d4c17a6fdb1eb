package import Compute

/// Decoding tables, made once.
enum NF4Tables {
  /// The 15 midpoints between neighbouring values, in float32.
  nonisolated(unsafe) static let bounds: UnsafeMutablePointer<Float> = {
    let table = UnsafeMutablePointer<Float>.allocate(capacity: 15)
    for code in 0..<15 { unsafe table[code] = (NF4.values[code] + NF4.values[code + 1]) / 2 }
    return unsafe table
  }()

  /// Both values of each byte: the high nibble comes first.
  nonisolated(unsafe) static let pairs: UnsafeMutablePointer<SIMD2<Float>> = {
    let table = UnsafeMutablePointer<SIMD2<Float>>.allocate(capacity: 256)
    for byte in 0..<256 { unsafe table[byte] = SIMD2(NF4.values[byte >> 4], NF4.values[byte & 15]) }
    return unsafe table
  }()
}

extension DynamicCode {
  /// The same values for hot loops.
  nonisolated(unsafe) static let table: UnsafeMutablePointer<Float> = {
    let table = UnsafeMutablePointer<Float>.allocate(capacity: 256)
    for (code, value) in values.enumerated() { unsafe table[code] = value }
    return unsafe table
  }()

  /// The code nearest to `x` in [-1, 1] after it is rounded to a grid of 65536 points; the lower
  /// of a tie. bitsandbytes looks codes up in a table over that grid.
  static func nearest(_ x: Float) -> UInt8 {
    let point = ((x + 1) * 0.5 * 65535 + 0.5).rounded(.down)
    let rounded = -1 + 2 * point / 65535
    var low = 0
    var high = bounds.count
    while low < high {
      let middle = (low + high) / 2
      if bounds[middle] < rounded { low = middle + 1 } else { high = middle }
    }
    return UInt8(low)
  }
}

extension CPUBackend {
  package func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError) {
    let count = x.count
    precondition(
      codes.count == NF4.codeByteCount(count) && absmax.count == NF4.blockCount(count),
      "quantizeNF4: \(count) elements, \(codes.count) bytes, \(absmax.count) scales")
    let x = unsafe x.floats
    let codes = unsafe codes.address.assumingMemoryBound(to: UInt8.self)
    let absmax = unsafe absmax.floats
    let bounds = unsafe NF4Tables.bounds
    // Chunks of whole blocks, and so of whole bytes.
    forEachChunk(count, of: 256 * NF4.blockSize) { range in
      for first in stride(from: range.lowerBound, to: range.upperBound, by: NF4.blockSize) {
        let last = min(first + NF4.blockSize, range.upperBound)
        var largest: Float = 0
        for i in first..<last { largest = unsafe max(largest, abs(x[i])) }
        // A block of zeros, or nearly, is divided by this; a shorter one stores it, too.
        let divisor = max(largest, 1e-38)
        let isWhole = last - first == NF4.blockSize
        unsafe absmax[first / NF4.blockSize] = isWhole ? largest : divisor
        let reciprocal = 1 / divisor
        func code(_ i: Int) -> UInt8 {
          // An element beyond an odd end is coded as zero.
          guard i < last else { return 7 }
          let scaled = unsafe isWhole ? x[i] * reciprocal : x[i] / divisor
          // Counts the bounds below, by halves; a value on a bound has the lower code.
          var code = 0
          var step = 8
          while step > 0 {
            if unsafe scaled > bounds[code + step - 1] { code += step }
            step /= 2
          }
          return UInt8(truncatingIfNeeded: code)
        }
        for i in stride(from: first, to: last, by: 2) {
          unsafe codes[i / 2] = code(i) << 4 | code(i + 1)
        }
      }
    }
  }

  package func quantizeScales(
    _ absmax: Tensor, offset: Float, codes: Tensor, nestedAbsmax: Tensor
  ) throws(ComputeError) {
    let count = absmax.count
    let block = NF4.nestedBlockSize
    precondition(codes.count == count && nestedAbsmax.count == (count + block - 1) / block)
    let absmax = unsafe absmax.floats
    let codes = unsafe codes.address.assumingMemoryBound(to: UInt8.self)
    let nested = unsafe nestedAbsmax.floats
    forEachChunk(count, of: block) { range in
      var largest: Float = 0
      for i in range { largest = unsafe max(largest, abs(absmax[i] - offset)) }
      unsafe nested[range.lowerBound / block] = largest
      let reciprocal = 1 / largest
      for i in range {
        let x = unsafe (absmax[i] - offset) * reciprocal
        // The code of a block of zeros does not matter; bitsandbytes writes the lowest.
        unsafe codes[i] = largest > 0 ? DynamicCode.nearest(min(1, max(-1, x))) : 0
      }
    }
  }

  package func decode(_ matrix: BaseMatrix, out: Tensor) throws(ComputeError) {
    precondition(out.count == matrix.count)
    let decoder = MatrixDecoder(matrix)
    let out = unsafe out.floats
    forEachChunk(matrix.count, of: 1 << 16) { range in
      unsafe decoder.decode(range.lowerBound, count: range.count, to: out + range.lowerBound)
    }
  }
}
