package import Compute

/// Seeded numbers for the operations of one device, and results taken back. The same seed puts the
/// same numbers on every device.
package final class OperationInputs {
  package let backend: any Backend
  private var state: UInt64

  package init(_ backend: any Backend, seed: UInt64) {
    self.backend = backend
    state = seed
  }

  // MARK: Numbers

  func next() -> UInt64 {
    // SplitMix64 (Steele, Lea & Flood 2014).
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// About normally distributed around zero: the sum of four uniform numbers.
  func normal() -> Float {
    var word = next()
    var sum: Float = -2
    for _ in 0..<4 {
      sum += Float(word & 0xFFFF) * 0x1p-16
      word >>= 16
    }
    return 1.75 * sum
  }

  /// `count` integers in `0..<bound`.
  func integers(_ count: Int, below bound: Int) -> [Int32] {
    (0..<count).map { _ in Int32(next() % UInt64(bound)) }
  }

  // MARK: Tensors

  func random(_ rows: Int, _ columns: Int, scale: Float = 1) throws -> Tensor {
    try tensor((0..<rows * columns).map { _ in scale * normal() }, rows: rows, columns: columns)
  }

  /// Multiples of 1/8, which every element type but the integers holds.
  func coarse(_ rows: Int, _ columns: Int) throws -> Tensor {
    try tensor(
      (0..<rows * columns).map { _ in (8 * normal()).rounded() / 8 }, rows: rows,
      columns: columns)
  }

  /// Not a number everywhere, so that what is not written shows.
  func empty(_ rows: Int, _ columns: Int) throws -> Tensor {
    try tensor([Float](repeating: .nan, count: rows * columns), rows: rows, columns: columns)
  }

  func tensor(_ values: [Float], rows: Int = 1, columns: Int? = nil) throws -> Tensor {
    let tensor = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * values.count), rows: rows,
      columns: columns ?? values.count / max(rows, 1))
    try backend.upload(values, to: tensor)
    return tensor
  }

  func tensor(_ values: [Int32], rows: Int = 1) throws -> Tensor {
    let tensor = Tensor(
      storage: try backend.makeStorage(byteCount: 4 * values.count), rows: rows,
      columns: values.count / rows, elementType: .int32)
    try backend.upload(values, to: tensor)
    return tensor
  }

  /// A tensor of any element type from the bits of its elements, in whole words.
  func tensor(bytes: [UInt8], rows: Int = 1, columns: Int, _ type: ElementType = .uint8) throws
    -> Tensor
  {
    let words = stride(from: 0, to: bytes.count, by: 4).map { first in
      (0..<4).reduce(UInt32(0)) { bits, i in
        first + i < bytes.count ? bits | UInt32(bytes[first + i]) << UInt32(8 * i) : bits
      }
    }
    return Tensor(
      storage: try tensor(words.map { Int32(bitPattern: $0) }).storage, rows: rows,
      columns: columns, elementType: type)
  }

  /// A vector in one of the types of files; digits beyond a bf16 or half are cut off.
  func tensor(_ values: [Float], as type: ElementType) throws -> Tensor {
    switch type {
    case .bfloat16:
      let bytes = values.flatMap { littleEndian($0.bitPattern >> 16) }
      return try tensor(bytes: bytes, columns: values.count, type)
    case .float16:
      let bytes = values.flatMap { littleEndian(Self.half($0)) }
      return try tensor(bytes: bytes, columns: values.count, type)
    default: return try tensor(values)
    }
  }

  /// The bits of a half: numbers under its smallest normal one become zero, and those over its
  /// largest infinite.
  private static func half(_ value: Float) -> UInt32 {
    let sign = value.bitPattern >> 16 & 0x8000
    guard value.isFinite else { return sign | (value.isNaN ? 0x7E00 : 0x7C00) }
    let exponent = Int(value.bitPattern >> 23 & 0xFF) - 112
    if exponent <= 0 { return sign }
    if exponent >= 31 { return sign | 0x7C00 }
    return sign | UInt32(exponent) << 10 | value.bitPattern >> 13 & 0x3FF
  }

  /// Elements of a tensor as numbers that compare: of integers and bytes their values.
  func numbers(_ tensor: Tensor) throws -> [Float] {
    switch tensor.elementType {
    case .float32: return try backend.download(tensor)
    case .int32: return try backend.downloadInt32(tensor).map(Float.init)
    default:
      let words = try backend.downloadInt32(
        Tensor(
          storage: tensor.storage, columns: (tensor.byteCount + 3) / 4, elementType: .int32))
      return (0..<tensor.byteCount).map {
        Float(UInt8(truncatingIfNeeded: words[$0 / 4] >> Int32(8 * ($0 % 4))))
      }
    }
  }

  // MARK: Base weights

  /// A random base matrix.
  func base(
    _ rows: Int, _ columns: Int, _ format: StorageFormat, isAlwaysFloat32: Bool = false
  ) throws -> BaseMatrix {
    let count = rows * columns
    let stored: BaseMatrix.Format
    switch format {
    case .float32: stored = .dense(try random(rows, columns, scale: 0.3))
    case .bfloat16:
      let bytes = (0..<count).flatMap { _ in littleEndian((0.3 * normal()).bitPattern >> 16) }
      stored = .dense(try tensor(bytes: bytes, rows: rows, columns: columns, .bfloat16))
    case .float16:
      // Every finite pattern up to 4, subnormal ones included.
      let bytes = (0..<count).flatMap { _ in
        littleEndian(UInt32(next() % 0x4400) | UInt32(next() % 2) << 15)
      }
      stored = .dense(try tensor(bytes: bytes, rows: rows, columns: columns, .float16))
    case .nf4, .nestedNF4:
      let codes = (0..<NF4.codeByteCount(count)).map { _ in UInt8(truncatingIfNeeded: next()) }
      let blocks = NF4.blockCount(count)
      let scales: NF4Scales
      if format == .nf4 {
        scales = .plain(try tensor((0..<blocks).map { _ in abs(normal()) * 0.3 }))
      } else {
        let scaleCodes = (0..<blocks).map { _ in UInt8(truncatingIfNeeded: next()) }
        scales = .nested(
          codes: try tensor(bytes: scaleCodes, columns: blocks),
          absmax: try tensor((0..<NF4.nestedBlockCount(count)).map { _ in abs(normal()) }),
          offset: try tensor([0.625]))
      }
      stored = .nf4(codes: try tensor(bytes: codes, columns: codes.count), scales: scales)
    }
    return BaseMatrix(
      rows: rows, columns: columns, format: stored, isAlwaysFloat32: isAlwaysFloat32)
  }

  private func littleEndian(_ bits: UInt32) -> [UInt8] {
    [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
  }
}

/// How a base matrix is stored.
enum StorageFormat: String, CaseIterable, Sendable {
  case float32, bfloat16, float16, nf4
  case nestedNF4 = "nf4 with nested scales"
}
