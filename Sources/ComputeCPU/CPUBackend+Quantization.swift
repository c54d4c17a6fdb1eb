package import Compute

/// Decoding tables, made once.
enum NF4Tables {
  /// The 16 code values.
  nonisolated(unsafe) static let values: UnsafeMutablePointer<Float> = {
    let table = UnsafeMutablePointer<Float>.allocate(capacity: 16)
    for (code, value) in NF4.values.enumerated() { unsafe table[code] = value }
    return unsafe table
  }()

  /// Both values of each byte: the high nibble comes first.
  nonisolated(unsafe) static let pairs: UnsafeMutablePointer<SIMD2<Float>> = {
    let table = UnsafeMutablePointer<SIMD2<Float>>.allocate(capacity: 256)
    for byte in 0..<256 { unsafe table[byte] = SIMD2(NF4.values[byte >> 4], NF4.values[byte & 15]) }
    return unsafe table
  }()
}

/// The 8-bit dynamic code of the second quantization: signs, a run of zero bits as exponent, and
/// a linear fraction that fills what is left.
///
/// Source: Dettmers 2016, arXiv:1511.04561, section 2.1; the values as bitsandbytes makes them.
enum DynamicCode {
  /// 256 values, ascending.
  static let values: [Float] = {
    var values: [Float] = [0, 1]
    for exponent in 0..<7 {
      // Midpoints of a grid over [0.1, 1], counted from the nearer end so as to round alike.
      let count = (1 << exponent) + 1
      let step = (1 - Float(0.1)) / Float(count - 1)
      let grid = (0..<count).map { index in
        index < count / 2 ? Float(0.1) + step * Float(index) : 1 - step * Float(count - 1 - index)
      }
      var power = 1.0
      for _ in 0..<(6 - exponent) { power *= 10 }
      let scale = Float(1 / power)
      for index in 0..<count - 1 {
        let value = scale * ((grid[index] + grid[index + 1]) / 2)
        values += [value, -value]
      }
    }
    return values.sorted()
  }()

  /// The code nearest to `x`; the lower one of a tie.
  static func nearest(_ x: Float) -> UInt8 { nearestIndex(of: x, in: values) }
}

/// Index of the value nearest to `x` in an ascending list, by float32 distances; the lower of a tie.
private func nearestIndex(of x: Float, in values: [Float]) -> UInt8 {
  var low = 0
  var high = values.count - 1
  // The last value that is not above x, or 0.
  while low < high {
    let middle = (low + high + 1) / 2
    if values[middle] <= x { low = middle } else { high = middle - 1 }
  }
  if low + 1 < values.count, values[low + 1] - x < x - values[low] { low += 1 }
  // Equal distances after rounding go to the lowest.
  while low > 0, abs(x - values[low - 1]) <= abs(x - values[low]) { low -= 1 }
  return UInt8(low)
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
    // Chunks of whole blocks, and so of whole bytes.
    forEachChunk(count, of: 256 * NF4.blockSize) { range in
      for first in stride(from: range.lowerBound, to: range.upperBound, by: NF4.blockSize) {
        let last = min(first + NF4.blockSize, range.upperBound)
        var largest: Float = 0
        for i in first..<last { largest = unsafe max(largest, abs(x[i])) }
        unsafe absmax[first / NF4.blockSize] = largest
        let isWhole = last - first == NF4.blockSize
        let reciprocal = 1 / largest
        func code(_ i: Int) -> UInt8 {
          // An element beyond an odd end is coded as zero.
          guard i < last, largest > 0 else { return 7 }
          let scaled = unsafe isWhole ? x[i] * reciprocal : x[i] / largest
          return nearestIndex(of: min(1, max(-1, scaled)), in: NF4.values)
        }
        for i in stride(from: first, to: last, by: 2) { unsafe codes[i / 2] = code(i) << 4 | code(i + 1) }
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
      for i in range {
        let x = unsafe absmax[i] - offset
        unsafe codes[i] = DynamicCode.nearest(largest > 0 ? min(1, max(-1, x / largest)) : 0)
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
