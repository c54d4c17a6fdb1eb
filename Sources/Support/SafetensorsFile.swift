/// The element types of safetensors files that this program reads or writes.
package enum SafetensorsType: String, Sendable {
  case float32 = "F32"
  case float16 = "F16"
  case bfloat16 = "BF16"
  case float64 = "F64"
  case int64 = "I64"
  case int32 = "I32"
  case uint8 = "U8"

  package var byteCount: Int {
    switch self {
    case .float64, .int64: 8
    case .float32, .int32: 4
    case .float16, .bfloat16: 2
    case .uint8: 1
    }
  }
}

/// One safetensors file, mapped. The header is checked in full before anything is read:
/// sizes and offsets without overflow, no overlap, no gap, nothing outside the file.
///
/// Source: the format's specification in the README of huggingface/safetensors.
package struct SafetensorsFile: Sendable {
  /// Where one tensor lies in the file.
  package struct Entry: Sendable, Equatable {
    package var type: SafetensorsType
    package var shape: [Int]
    /// Bytes from the start of the file.
    package var range: Range<Int>

    package var elementCount: Int { shape.reduce(1, *) }

    /// One of `count` equal parts, under a shape of its own.
    package func part(_ index: Int, of count: Int, shape: [Int]) -> Entry {
      let size = range.count / count
      precondition(
        range.count % count == 0 && (0..<count).contains(index)
          && shape.reduce(type.byteCount, *) == size, "part \(index) of \(count)")
      let start = range.lowerBound + index * size
      return Entry(type: type, shape: shape, range: start..<start + size)
    }
  }

  /// Headers above this size are refused, as by the reference implementation.
  private static let maximumHeaderByteCount = 100_000_000
  private static let maximumEntryCount = 300_000

  package let file: MappedFile
  package let entries: [String: Entry]
  package let metadata: [String: String]

  package var path: String { file.path }

  /// Maps a file and checks its header.
  ///
  /// - Parameter path: a safetensors file.
  /// - Throws: ``UserError`` that names the file, the tensor and the broken rule.
  package init(path: String) throws(UserError) {
    file = try MappedFile(path: path)
    func broken(_ reason: String) -> UserError {
      UserError(
        .badInput, at: path, "not a valid safetensors file: \(reason)",
        fix: "copy or download the file again; it may be truncated")
    }
    guard file.byteCount >= 8 else { throw broken("\(file.byteCount) bytes are no header") }
    let declared = unsafe file.withBytes(0..<8) { bytes in
      unsafe UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    }
    guard declared <= Self.maximumHeaderByteCount, declared <= file.byteCount - 8 else {
      throw broken("a header of \(declared) bytes in a file of \(file.byteCount)")
    }
    let dataStart = 8 + Int(declared)
    let header = unsafe file.withBytes(8..<dataStart) { bytes in unsafe Array(bytes) }
    let document: JSONValue
    do throws(JSONError) {
      document = try JSONParser.parse(header, maximumDepth: 4)
    } catch {
      throw broken("header: \(error)")
    }
    guard let object = document.objectValue else { throw broken("the header is no JSON object") }
    guard object.count <= Self.maximumEntryCount else {
      throw broken("\(object.count) tensors, more than \(Self.maximumEntryCount)")
    }

    var entries: [String: Entry] = [:]
    var metadata: [String: String] = [:]
    let dataByteCount = file.byteCount - dataStart
    for (name, value) in object.members {
      if name == "__metadata__" {
        guard let members = value.objectValue?.members else { throw broken("__metadata__") }
        for (key, text) in members {
          guard let text = text.stringValue else { throw broken("__metadata__.\(key)") }
          metadata[key] = text
        }
        continue
      }
      entries[name] = try Self.entry(name, value, dataStart, dataByteCount, broken)
    }
    // The tensors must tile the data: sorted by offset each begins where the last ended.
    var end = dataStart
    for (name, entry) in entries.sorted(by: {
      ($0.value.range.lowerBound, $0.value.range.upperBound, $0.key)
        < ($1.value.range.lowerBound, $1.value.range.upperBound, $1.key)
    }) {
      guard entry.range.lowerBound == end else {
        throw broken("tensor \(name) begins at byte \(entry.range.lowerBound), not at \(end)")
      }
      end = entry.range.upperBound
    }
    guard end == file.byteCount else {
      throw broken("the tensors end at byte \(end), the file at \(file.byteCount)")
    }
    self.entries = entries
    self.metadata = metadata
  }

  private static func entry(
    _ name: String, _ value: JSONValue, _ dataStart: Int, _ dataByteCount: Int,
    _ broken: (String) -> UserError
  ) throws(UserError) -> Entry {
    let label = "tensor \(name.prefix(120))"
    guard let typeName = value["dtype"]?.stringValue else { throw broken("\(label): no dtype") }
    guard let type = SafetensorsType(rawValue: typeName) else {
      throw broken("\(label): dtype \(typeName.prefix(20)) is not supported")
    }
    guard let dimensions = value["shape"]?.arrayValue, dimensions.count <= 8 else {
      throw broken("\(label): no shape of at most 8 dimensions")
    }
    var shape: [Int] = []
    var byteCount = type.byteCount
    for dimension in dimensions {
      guard let size = dimension.intValue, size >= 0 else { throw broken("\(label): shape") }
      let (product, overflow) = byteCount.multipliedReportingOverflow(by: size)
      guard !overflow else { throw broken("\(label): the shape overflows") }
      byteCount = product
      shape.append(size)
    }
    guard let offsets = value["data_offsets"]?.arrayValue, offsets.count == 2,
      let begin = offsets[0].intValue, let end = offsets[1].intValue,
      begin >= 0, begin <= end, end <= dataByteCount
    else { throw broken("\(label): data_offsets outside the file") }
    guard end - begin == byteCount else {
      throw broken("\(label): \(end - begin) bytes, but its shape needs \(byteCount)")
    }
    return Entry(type: type, shape: shape, range: dataStart + begin..<dataStart + end)
  }

  /// Runs `body` with the bytes of a tensor.
  package func withBytes<Result, Failure: Error>(
    _ entry: Entry, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe file.withBytes(entry.range, body)
  }

  /// Elements `range` of a tensor as float32.
  package func floats(_ entry: Entry, _ range: Range<Int>? = nil) throws(UserError) -> [Float] {
    let range = range ?? 0..<entry.elementCount
    precondition(range.lowerBound >= 0 && range.upperBound <= entry.elementCount)
    let size = entry.type.byteCount
    let start = entry.range.lowerBound + range.lowerBound * size
    let bytes = start..<start + range.count * size
    switch entry.type {
    case .float32:
      return unsafe file.withBytes(bytes) { raw in
        (0..<range.count).map {
          unsafe raw.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self)
        }
      }
    case .bfloat16:
      return unsafe file.withBytes(bytes) { raw in
        (0..<range.count).map {
          Float(
            bitPattern: UInt32(
              unsafe raw.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self)) << 16)
        }
      }
    case .float16:
      return unsafe file.withBytes(bytes) { raw in
        (0..<range.count).map {
          float(
            fromFloat16: unsafe raw.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self))
        }
      }
    default:
      throw UserError(
        .badInput, at: path, "a tensor of type \(entry.type.rawValue) where numbers were expected")
    }
  }
}

/// The value of an IEEE half-precision number.
package func float(fromFloat16 bits: UInt16) -> Float {
  let sign = UInt32(bits & 0x8000) << 16
  let exponent = UInt32(bits >> 10) & 0x1F
  let fraction = UInt32(bits & 0x3FF)
  switch exponent {
  case 0:
    // Subnormal: fraction x 2^-24, exact in float32.
    let magnitude = Float(fraction) * 0x1p-24
    return sign == 0 ? magnitude : -magnitude
  case 31: return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13)
  default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
  }
}
