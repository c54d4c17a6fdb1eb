package import Compute

extension CPUBackend {
  package func fill(_ out: Tensor, with random: RandomTensor, from first: Int)
    throws(ComputeError)
  {
    precondition(first % 32 == 0, "fill: from element \(first)")
    let address = unsafe SendableRawPointer(out.address)
    // Chunks of whole groups of eight counters.
    switch out.elementType {
    case .float32:
      forEachChunk(out.count, of: 1 << 13) { range in
        let to = unsafe address.value.assumingMemoryBound(to: Float.self)
        Self.forEachGroup(random, first, range) { index, words, width in
          for block in 0..<8 where 4 * block < width {
            let four = SIMD4(words.0[block], words.1[block], words.2[block], words.3[block])
            for lane in 0..<min(4, width - 4 * block) {
              unsafe to[index + 4 * block + lane] = four[lane]
            }
          }
        }
      }
    case .bfloat16:
      forEachChunk(out.count, of: 1 << 13) { range in
        let to = unsafe address.value.assumingMemoryBound(to: UInt16.self)
        Self.forEachGroup(random, first, range) { index, words, width in
          let bits = (
            bfloat16Bits(words.0), bfloat16Bits(words.1), bfloat16Bits(words.2),
            bfloat16Bits(words.3)
          )
          for block in 0..<8 where 4 * block < width {
            let four = SIMD4(bits.0[block], bits.1[block], bits.2[block], bits.3[block])
            for lane in 0..<min(4, width - 4 * block) {
              unsafe to[index + 4 * block + lane] = four[lane]
            }
          }
        }
      }
    default: preconditionFailure("fill of \(out.elementType)")
    }
  }

  /// Calls `body` for groups of 32 elements, the last may be shorter: with the index of the first,
  /// and for each word of eight counters its elements.
  @inline(__always) private static func forEachGroup(
    _ random: RandomTensor, _ first: Int, _ range: Range<Int>,
    _ body: (_ index: Int, _ elements: (Lanes, Lanes, Lanes, Lanes), _ width: Int) -> Void
  ) {
    let (stream, key, scale) = (random.streamWords, random.generatorKey, random.scale)
    func elements(_ words: SIMD8<UInt32>) -> Lanes {
      let low = words & 0x00FF_00FF
      let pairs = low &+ ((words &>> 8) & 0x00FF_00FF)
      let sums = (pairs & 0xFFFF) &+ (pairs &>> 16)
      return Lanes(SIMD8<Int32>(truncatingIfNeeded: sums) &- RandomTensor.center) * scale
    }
    let lanes = SIMD8<UInt32>(0, 1, 2, 3, 4, 5, 6, 7)
    for index in stride(from: range.lowerBound, to: range.upperBound, by: 32) {
      let block = UInt64((first + index) / 4)
      let words = CounterGenerator.words(
        stream.x, stream.y, UInt32(truncatingIfNeeded: block >> 32),
        lanes &+ UInt32(truncatingIfNeeded: block), key: key)
      body(
        index, (elements(words.0), elements(words.1), elements(words.2), elements(words.3)),
        min(32, range.upperBound - index))
    }
  }
}
