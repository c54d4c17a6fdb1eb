package import Compute
internal import Support

/// Puts matrices on a device and takes results back.
package struct TestDevice {
  package let backend: any Backend
  package init(_ backend: any Backend) { self.backend = backend }

  /// An uninitialized float32 tensor, filled with NaN so that what is not written shows.
  package func empty(_ rows: Int, _ columns: Int) throws -> Tensor {
    try tensor(Matrix(rows, columns, repeating: .nan))
  }

  package func tensor(_ matrix: Matrix) throws -> Tensor {
    let tensor = Tensor(
      storage: try backend.makeStorage(byteCount: matrix.values.count * 4), rows: matrix.rows,
      columns: matrix.columns)
    try backend.upload(matrix.floats, to: tensor)
    return tensor
  }

  package func tensor(_ values: [Int32], rows: Int = 1) throws -> Tensor {
    let tensor = Tensor(
      storage: try backend.makeStorage(byteCount: values.count * 4), rows: rows,
      columns: values.count / rows, elementType: .int32)
    try backend.upload(values, to: tensor)
    return tensor
  }

  /// A tensor of any element type from its bytes.
  package func tensor(bytes: [UInt8], rows: Int, columns: Int, _ type: ElementType) throws -> Tensor
  {
    precondition(bytes.count == rows * columns * type.byteCount)
    let wordCount = (bytes.count + 3) / 4
    let storage = try backend.makeStorage(byteCount: wordCount * 4)
    let words = (0..<wordCount).map { word in
      (0..<4).reduce(UInt32(0)) { bits, i in
        let index = word * 4 + i
        return bits | (index < bytes.count ? UInt32(bytes[index]) << UInt32(8 * i) : 0)
      }
    }
    try backend.upload(
      words.map { Int32(bitPattern: $0) },
      to: Tensor(storage: storage, columns: wordCount, elementType: .int32))
    return Tensor(storage: storage, rows: rows, columns: columns, elementType: type)
  }

  /// An empty uint8 vector.
  package func emptyBytes(_ count: Int) throws -> Tensor {
    try tensor(bytes: [UInt8](repeating: 0xAB, count: count), rows: 1, columns: count, .uint8)
  }

  package func matrix(_ tensor: Tensor) throws -> Matrix {
    Matrix(tensor.rows, tensor.columns, try backend.download(tensor))
  }

  package func floats(_ tensor: Tensor) throws -> [Float] { try backend.download(tensor) }

  /// The elements of an int32 tensor.
  package func integers(_ tensor: Tensor) throws -> [Int32] {
    try backend.download(
      Tensor(
        storage: tensor.storage, byteOffset: tensor.byteOffset, rows: tensor.rows,
        columns: tensor.columns)
    ).map { Int32(bitPattern: $0.bitPattern) }
  }

  /// The bytes of a tensor that is alone in its storage, made by this device.
  package func bytes(_ tensor: Tensor) throws -> [UInt8] {
    let words = try backend.download(
      Tensor(storage: tensor.storage, columns: (tensor.byteCount + 3) / 4))
    let bytes = words.flatMap { word in
      (0..<4).map { UInt8(truncatingIfNeeded: word.bitPattern >> UInt32(8 * $0)) }
    }
    return Array(bytes[..<tensor.byteCount])
  }
}

/// How a test stores a base matrix.
package enum BaseFormat: String, CaseIterable, Sendable {
  case float32, bfloat16, float16, nf4, nestedNF4
}

/// A base matrix and the values its elements stand for.
package struct BaseSample {
  package var matrix: BaseMatrix
  package var values: Matrix
}

extension TestDevice {
  /// A random base matrix; its values are exact, by a decoder of its own.
  package func base(
    _ rows: Int, _ columns: Int, _ format: BaseFormat, alwaysFloat32: Bool = false,
    _ random: inout Random
  ) throws -> BaseSample {
    let count = rows * columns
    var values: [Float] = []
    let stored: BaseMatrix.Format
    switch format {
    case .float32:
      let matrix = random.matrix(rows, columns, scale: 0.3)
      values = matrix.floats
      stored = .dense(try tensor(matrix))
    case .bfloat16:
      values = random.matrix(rows, columns, scale: 0.3).values.map { roundedToBFloat16(Float($0)) }
      let bytes = values.flatMap { littleEndian(UInt16($0.bitPattern >> 16)) }
      stored = .dense(try tensor(bytes: bytes, rows: rows, columns: columns, .bfloat16))
    case .float16:
      // Every pattern that is finite, subnormal ones included.
      let bits = (0..<count).map { _ in
        UInt16(random.next() % 0x4400) | UInt16(random.next() % 2) << 15
      }
      values = bits.map { Support.float(fromFloat16: $0) }
      stored = .dense(
        try tensor(bytes: bits.flatMap(littleEndian), rows: rows, columns: columns, .float16))
    case .nf4, .nestedNF4:
      let codes = (0..<NF4.codeByteCount(count)).map { _ in UInt8(truncatingIfNeeded: random.next())
      }
      let blocks = NF4.blockCount(count)
      let scales: NF4Scales
      var absmax: [Float]
      if format == .nf4 {
        absmax = (0..<blocks).map { _ in Float(abs(random.normal()) * 0.3) }
        scales = .plain(try tensor(Matrix(1, blocks, absmax)))
      } else {
        let scaleCodes = (0..<blocks).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let nested = (0..<NF4.nestedBlockCount(count)).map { _ in Float(abs(random.normal())) }
        let offset: Float = 0.625
        let dynamic = try dynamicCodeValues()
        absmax = scaleCodes.enumerated().map { block, code in
          dynamic[Int(code)] * nested[block / NF4.nestedBlockSize] + offset
        }
        scales = .nested(
          codes: try tensor(bytes: scaleCodes, rows: 1, columns: blocks, .uint8),
          absmax: try tensor(Matrix(1, nested.count, nested)),
          offset: try tensor(Matrix(1, 1, [offset])))
      }
      values = (0..<count).map { i in
        let code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15
        // Rows longer than a block and no multiple of it: as bitsandbytes on CPU reads them.
        let isRagged = columns > 64 && columns % 64 != 0
        let scale = isRagged ? i / columns * (columns / 64) + i % columns / 64 : i / 64
        return NF4.values[Int(code)] * absmax[scale]
      }
      stored = .nf4(
        codes: try tensor(bytes: codes, rows: 1, columns: codes.count, .uint8), scales: scales)
    }
    return BaseSample(
      matrix: BaseMatrix(
        rows: rows, columns: columns, format: stored, isAlwaysFloat32: alwaysFloat32),
      values: Matrix(rows, columns, values))
  }

  /// The 256 values of the device's 8-bit dynamic code: blocks whose codes stand for one, scaled
  /// by it.
  package func dynamicCodeValues() throws -> [Float] {
    let matrix = BaseMatrix(
      rows: 256, columns: NF4.blockSize,
      format: .nf4(
        codes: try tensor(
          bytes: [UInt8](repeating: 0xFF, count: 128 * NF4.blockSize), rows: 1,
          columns: 128 * NF4.blockSize, .uint8),
        scales: .nested(
          codes: try tensor(bytes: (0...255).map { UInt8($0) }, rows: 1, columns: 256, .uint8),
          absmax: try tensor(Matrix(1, 1, [1.0])), offset: try tensor(Matrix(1, 1, [0.0])))))
    let out = try empty(256, NF4.blockSize)
    try backend.decode(matrix, out: out)
    let decoded = try floats(out)
    return (0..<256).map { decoded[$0 * NF4.blockSize] }
  }
}

private func littleEndian(_ bits: UInt16) -> [UInt8] {
  [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
}

/// The nearest bfloat16 value; of two as near the one with an even last bit.
package func roundedToBFloat16(_ x: Float) -> Float {
  let below = x.bitPattern & 0xFFFF_0000
  let (low, high) = (Float(bitPattern: below), Float(bitPattern: below &+ 0x1_0000))
  let (toLow, toHigh) = (abs(Double(x) - Double(low)), abs(Double(high) - Double(x)))
  if toLow == toHigh { return below & 0x1_0000 == 0 ? low : high }
  return toLow < toHigh ? low : high
}

extension Matrix {
  /// Every element rounded to bfloat16.
  package var roundedToBFloat16: Matrix {
    map { Double(TestSupport.roundedToBFloat16(Float($0))) }
  }
}
