internal import Compute
internal import Support

/// Reads elements of a base matrix as float32 or bfloat16, whatever its storage format.
@safe struct MatrixDecoder: @unchecked Sendable {
  @unsafe private enum Source {
    case float32(UnsafeMutablePointer<Float>)
    case bfloat16(UnsafeMutablePointer<UInt16>)
    case float16(UnsafeMutablePointer<UInt16>)
    case nf4(codes: UnsafeMutablePointer<UInt8>, scales: ScaleReader)
  }

  private let source: Source
  private let matrix: BaseMatrix
  private let pairs = unsafe NF4Tables.pairs

  init(_ matrix: BaseMatrix) {
    self.matrix = matrix
    switch matrix.format {
    case .dense(let values):
      switch values.elementType {
      case .float32: unsafe source = unsafe .float32(values.floats)
      case .bfloat16:
        unsafe source = unsafe .bfloat16(values.address.assumingMemoryBound(to: UInt16.self))
      case .float16:
        unsafe source = unsafe .float16(values.address.assumingMemoryBound(to: UInt16.self))
      default: preconditionFailure("a base matrix of \(values.elementType)")
      }
    case .nf4(let codes, let scales):
      unsafe source = unsafe .nf4(
        codes: codes.address.assumingMemoryBound(to: UInt8.self), scales: ScaleReader(scales))
    }
  }

  /// The elements as they lie, when they are float32 already.
  var float32Elements: UnsafeMutablePointer<Float>? {
    if case .float32(let values) = unsafe source { unsafe values } else { nil }
  }

  /// The elements as they lie, when they are bfloat16 already.
  var bfloat16Elements: UnsafeMutablePointer<UInt16>? {
    if case .bfloat16(let values) = unsafe source { unsafe values } else { nil }
  }

  /// Elements `start ..< start + count` of the flattened matrix as float32.
  func decode(_ start: Int, count: Int, to out: UnsafeMutablePointer<Float>) {
    precondition(start >= 0 && start + count <= matrix.count, "elements outside a base matrix")
    switch unsafe source {
    case .float32(let values): unsafe out.update(from: values + start, count: count)
    case .bfloat16(let values):
      for i in 0..<count { unsafe out[i] = unsafe float(fromBFloat16: values[start + i]) }
    case .float16(let values):
      for i in 0..<count { unsafe out[i] = unsafe Support.float(fromFloat16: values[start + i]) }
    case .nf4(let codes, let scales):
      forEachBlock(start, count) { block, first, last in
        let scale = unsafe scales[block]
        var i = first
        if i & 1 == 1 {
          unsafe out[i - start] = unsafe pairs[Int(codes[i >> 1])].y * scale
          i += 1
        }
        while i + 1 < last {
          unsafe UnsafeMutableRawPointer(out + (i - start)).storeBytes(
            of: pairs[Int(codes[i >> 1])] * scale, as: SIMD2<Float>.self)
          i += 2
        }
        if i < last { unsafe out[i - start] = unsafe pairs[Int(codes[i >> 1])].x * scale }
      }
    }
  }

  /// Elements `start ..< start + count` rounded to bfloat16.
  func decodeBFloat16(_ start: Int, count: Int, to out: UnsafeMutablePointer<UInt16>) {
    precondition(start >= 0 && start + count <= matrix.count, "elements outside a base matrix")
    switch unsafe source {
    case .float32(let values): unsafe roundToBFloat16(values + start, count: count, to: out)
    case .bfloat16(let values): unsafe out.update(from: values + start, count: count)
    case .float16(let values):
      for i in 0..<count {
        unsafe out[i] = unsafe bfloat16Bits(Support.float(fromFloat16: values[start + i]))
      }
    case .nf4(let codes, let scales):
      forEachBlock(start, count) { block, first, last in
        let scale = unsafe scales[block]
        var i = first
        if i & 1 == 1 {
          unsafe out[i - start] = unsafe bfloat16Bits(pairs[Int(codes[i >> 1])].y * scale)
          i += 1
        }
        // Four bytes are eight elements.
        while i + 8 <= last {
          let bytes = unsafe UnsafeRawPointer(codes + (i >> 1)).loadUnaligned(as: UInt32.self)
          let quarter0 = unsafe pairs[Int(bytes & 0xFF)]
          let quarter1 = unsafe pairs[Int(bytes >> 8 & 0xFF)]
          let quarter2 = unsafe pairs[Int(bytes >> 16 & 0xFF)]
          let quarter3 = unsafe pairs[Int(bytes >> 24)]
          let values = Lanes(
            lowHalf: SIMD4(lowHalf: quarter0, highHalf: quarter1),
            highHalf: SIMD4(lowHalf: quarter2, highHalf: quarter3))
          unsafe UnsafeMutableRawPointer(out + (i - start)).storeBytes(
            of: bfloat16Bits(values * scale), as: SIMD8<UInt16>.self)
          i += 8
        }
        while i < last {
          let pair = unsafe pairs[Int(codes[i >> 1])] * scale
          unsafe out[i - start] = bfloat16Bits(i & 1 == 0 ? pair.x : pair.y)
          i += 1
        }
      }
    }
  }

  /// Calls `body` with parts of the elements that share a scale, and the index of that scale; see
  /// ``NF4/scaleIndex(_:columns:)``.
  @inline(__always) private func forEachBlock(
    _ start: Int, _ count: Int, _ body: (_ scale: Int, _ first: Int, _ last: Int) -> Void
  ) {
    let columns = matrix.columns
    let isAligned = NF4.isAligned(columns: columns)
    var first = start
    while first < start + count {
      let inBlock = isAligned ? first % NF4.blockSize : first % columns % NF4.blockSize
      var last = min(start + count, first - inBlock + NF4.blockSize)
      if !isAligned { last = min(last, (first / columns + 1) * columns) }
      body(NF4.scaleIndex(first, columns: columns), first, last)
      first = last
    }
  }
}

/// Rounds float32 elements to bfloat16, ties to even.
func roundToBFloat16(
  _ x: UnsafeMutablePointer<Float>, count: Int, to out: UnsafeMutablePointer<UInt16>
) {
  forEachLanes(count) { i, w in
    let bits = unsafe bfloat16Bits(x.lanes(i, w))
    if w == 8 {
      unsafe UnsafeMutableRawPointer(out + i).storeBytes(of: bits, as: SIMD8<UInt16>.self)
    } else {
      for lane in 0..<w { unsafe out[i + lane] = bits[lane] }
    }
  }
}

/// The absmax of each block of an NF4 tensor.
@unsafe struct ScaleReader {
  private let absmax: UnsafeMutablePointer<Float>
  private let codes: UnsafeMutablePointer<UInt8>?
  private let offset: Float
  private let values = unsafe DynamicCode.table

  init(_ scales: NF4Scales) {
    switch scales {
    case .plain(let values):
      unsafe absmax = unsafe values.floats
      unsafe codes = nil
      unsafe offset = 0
    case .nested(let codes, let absmax, let offset):
      unsafe self.absmax = unsafe absmax.floats
      unsafe self.codes = unsafe codes.address.assumingMemoryBound(to: UInt8.self)
      unsafe self.offset = unsafe offset.floats[0]
    }
  }

  @inline(__always) subscript(block: Int) -> Float {
    guard let codes = unsafe codes else { return unsafe absmax[block] }
    return unsafe values[Int(codes[block])] * absmax[block / NF4.nestedBlockSize] + offset
  }
}
