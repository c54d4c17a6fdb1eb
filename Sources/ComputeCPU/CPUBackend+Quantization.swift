package import Compute
internal import Synchronization

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
  package func isFinite(_ x: Tensor) throws(ComputeError) -> Bool {
    let hasOthers = Atomic(false)
    let address = unsafe x.address
    // An exponent of all ones is an infinity or no number.
    forEachChunk(x.count, of: 1 << 16) { range in
      let isFinite =
        switch x.elementType {
        case .float32:
          unsafe Self.isFinite(
            address.assumingMemoryBound(to: UInt32.self), range, exponent: 0x7F80_0000)
        case .bfloat16:
          unsafe Self.isFinite(
            address.assumingMemoryBound(to: UInt16.self), range, exponent: 0x7F80)
        case .float16:
          unsafe Self.isFinite(
            address.assumingMemoryBound(to: UInt16.self), range, exponent: 0x7C00)
        default: preconditionFailure("isFinite of \(x.elementType)")
        }
      if !isFinite { hasOthers.store(true, ordering: .relaxed) }
    }
    return !hasOthers.load(ordering: .relaxed)
  }

  @inline(__always) private static func isFinite<Bits: FixedWidthInteger>(
    _ x: UnsafeMutablePointer<Bits>, _ range: Range<Int>, exponent: Bits
  ) -> Bool {
    var most: Bits = 0
    for i in range { most = unsafe max(most, x[i] & exponent) }
    return most < exponent
  }

  package func quantizeNF4(_ x: Tensor, codes: Tensor, absmax: Tensor) throws(ComputeError) {
    let count = x.count
    precondition(
      codes.count == NF4.codeByteCount(count) && absmax.count == NF4.blockCount(count),
      "quantizeNF4: \(count) elements, \(codes.count) bytes, \(absmax.count) scales")
    let source = MatrixDecoder(
      BaseMatrix(
        rows: 1, columns: count, format: .dense(x.reshaped(rows: 1, columns: count))))
    let codes = unsafe codes.address.assumingMemoryBound(to: UInt8.self)
    let absmax = unsafe absmax.floats
    // Chunks of whole blocks, and so of whole bytes.
    forEachChunk(count, of: 256 * NF4.blockSize) { range in
      unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: NF4.blockSize) { buffer in
        guard let block = buffer.baseAddress else { return }
        for first in stride(from: range.lowerBound, to: range.upperBound, by: NF4.blockSize) {
          let width = min(NF4.blockSize, range.upperBound - first)
          // What lies beyond an odd end is coded as zero.
          unsafe buffer.update(repeating: 0)
          unsafe source.decode(first, count: width, to: block)
          unsafe absmax[first / NF4.blockSize] = Self.quantizeBlock(
            block, width, codes: codes + first / 2)
        }
      }
    }
  }

  /// Quantizes one block.
  ///
  /// - Parameters:
  ///   - x: 64 elements, zero from `width` on; used up.
  ///   - width: elements of the block.
  ///   - codes: of these, two to a byte; written.
  /// - Returns: the absmax to store.
  @inline(__always) private static func quantizeBlock(
    _ x: UnsafeMutablePointer<Float>, _ width: Int, codes: UnsafeMutablePointer<UInt8>
  ) -> Float {
    var most = Lanes.zero
    for i in stride(from: 0, to: 64, by: 8) {
      let lanes = unsafe x.lanes(i, 8)
      most = larger(most, larger(lanes, -lanes))
    }
    let largest = most.largest
    // A block of zeros, or nearly, is divided by this; a shorter one stores it, too.
    let divisor = max(largest, 1e-38)
    let isWhole = width == 64
    let reciprocal = 1 / divisor
    let bounds = unsafe NF4Tables.bounds
    for i in stride(from: 0, to: 64, by: 8) {
      let lanes = unsafe x.lanes(i, 8)
      let scaled = isWhole ? lanes * reciprocal : lanes / divisor
      // Counts the bounds below; a value on a bound has the lower code. A mask's lanes are minus one.
      var code = SIMD8<Int32>.zero
      for bound in 0..<15 {
        let isAbove = unsafe scaled .> Lanes(repeating: bounds[bound])
        code = unsafe code &- unsafeBitCast(isAbove, to: SIMD8<Int32>.self)
      }
      unsafe UnsafeMutableRawPointer(x + i).storeBytes(of: code, as: SIMD8<Int32>.self)
    }
    // Two codes to a byte, the first in the high half.
    let pairs = unsafe UnsafeMutableRawPointer(x).assumingMemoryBound(to: UInt64.self)
    for byte in 0..<(width + 1) / 2 {
      let pair = unsafe pairs[byte]
      unsafe codes[byte] = UInt8(truncatingIfNeeded: pair &<< 4 | pair &>> 32)
    }
    return isWhole ? largest : divisor
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
