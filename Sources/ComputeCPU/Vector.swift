/// Eight float32 lanes: the unit all CPU kernels are written in.
typealias Lanes = SIMD8<Float>

/// Calls `body` with the start and width of each group of eight; the last may be narrower.
@inline(__always) func forEachLanes(_ count: Int, _ body: (_ index: Int, _ width: Int) -> Void) {
  var index = 0
  while index &+ 8 <= count {
    body(index, 8)
    index &+= 8
  }
  if index < count { body(index, count &- index) }
}

extension UnsafeMutablePointer where Pointee == Float {
  /// `width` elements from `index` on; the lanes beyond are zero.
  @inline(__always) func lanes(_ index: Int, _ width: Int) -> Lanes {
    if width == 8 { return unsafe UnsafeRawPointer(self + index).loadUnaligned(as: Lanes.self) }
    var lanes = Lanes.zero
    for lane in 0..<width { lanes[lane] = unsafe self[index + lane] }
    return lanes
  }

  @inline(__always) func store(_ lanes: Lanes, _ index: Int, _ width: Int) {
    if width == 8 {
      unsafe UnsafeMutableRawPointer(self + index).storeBytes(of: lanes, as: Lanes.self)
    } else {
      for lane in 0..<width { unsafe self[index + lane] = lanes[lane] }
    }
  }
}

extension SIMD8<Float> {
  /// The sum of the lanes, in one fixed order.
  @inline(__always) var total: Float {
    let four = lowHalf + highHalf
    let two = four.lowHalf + four.highHalf
    return two.x + two.y
  }

  /// The largest of the lanes.
  @inline(__always) var largest: Float {
    let four = lowHalf.replacing(with: highHalf, where: highHalf .> lowHalf)
    let two = four.lowHalf.replacing(with: four.highHalf, where: four.highHalf .> four.lowHalf)
    return two.x > two.y ? two.x : two.y
  }

  /// The first `width` lanes, the others zero.
  @inline(__always) func first(_ width: Int) -> Lanes {
    if width == 8 { return self }
    var lanes = Lanes.zero
    for lane in 0..<width { lanes[lane] = self[lane] }
    return lanes
  }

  @inline(__always) var bits: SIMD8<UInt32> { unsafe unsafeBitCast(self, to: SIMD8<UInt32>.self) }
}

/// The larger of each pair of lanes.
@inline(__always) func larger(_ a: Lanes, _ b: Lanes) -> Lanes {
  a.replacing(with: b, where: b .> a)
}

/// e^x to about one unit in the last place; below -87 it stays at e^-87, above 88 at e^88. The
/// result of a NaN is NaN, so that none is hidden.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2: a polynomial in r, and n goes into the exponent.
/// Source: the coefficients of Cephes' `expf` (S. Moshier).
@inline(__always) func exponential(_ x: Lanes) -> Lanes {
  let clamped = x.replacing(with: 88, where: x .> 88).replacing(with: -87, where: x .< -87)
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
  let shifted = clamped * 1.442695040888963407 + 0x1.8p23
  let n = shifted - 0x1.8p23
  var r = clamped - n * 0.693359375
  r = r - n * -2.12194440e-4
  var p = Lanes(repeating: 1.9875691500e-4)
  p = p * r + 1.3981999507e-3
  p = p * r + 8.3334519073e-3
  p = p * r + 4.1665795894e-2
  p = p * r + 1.6666665459e-1
  p = p * r + 5.0000001201e-1
  let y = p * (r * r) + r + 1
  let power = (shifted.bits &<< 23) &+ (127 << 23)
  return unsafe y * unsafeBitCast(power, to: Lanes.self)
}

/// Rounds to bfloat16, ties to even. Infinities stay, and so do the NaNs that arithmetic makes.
@inline(__always) func bfloat16Bits(_ x: Lanes) -> SIMD8<UInt16> {
  let bits = x.bits
  let rounded = (bits &+ 0x7FFF &+ ((bits &>> 16) & 1)) &>> 16
  return SIMD8<UInt16>(truncatingIfNeeded: rounded)
}

@inline(__always) func bfloat16Bits(_ x: Float) -> UInt16 {
  let bits = x.bitPattern
  return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits &>> 16 & 1)) &>> 16)
}

@inline(__always) func float(fromBFloat16 bits: UInt16) -> Float {
  Float(bitPattern: UInt32(bits) << 16)
}
