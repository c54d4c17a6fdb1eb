/// Why bytes are not the protobuf message that was expected.
struct ProtobufError: Error, Equatable {
  var byteOffset: Int
  var reason: String
}

/// Reads the fields of one protobuf message from bytes that nobody has checked.
struct ProtobufReader {
  /// The content of a field; numbers of either fixed width come as their bits.
  enum Value: Equatable {
    case varint(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    /// A string, bytes or an inner message: where it lies.
    case bytes(Range<Int>)
  }

  private let bytes: [UInt8]
  private var position: Int
  private let end: Int

  /// Reads the message in `range` of `bytes`.
  init(_ bytes: [UInt8], in range: Range<Int>) {
    self.bytes = bytes
    position = range.lowerBound
    end = range.upperBound
  }

  private func error(_ reason: String) -> ProtobufError {
    ProtobufError(byteOffset: position, reason: reason)
  }

  private mutating func varint() throws(ProtobufError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), through: 63, by: 7) {
      guard position < end else { throw error("a number is cut off") }
      let byte = bytes[position]
      position += 1
      if shift == 63 && byte > 1 { throw error("a number has more than 64 bits") }
      value |= UInt64(byte & 0x7F) << shift
      if byte & 0x80 == 0 { return value }
    }
    throw error("a number has more than 10 bytes")
  }

  private mutating func fixed(_ count: Int) throws(ProtobufError) -> UInt64 {
    guard count <= end - position else { throw error("a number is cut off") }
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(bytes[position + index]) << UInt64(8 * index) }
    position += count
    return value
  }

  /// The next field, or nil at the end of the message.
  mutating func next() throws(ProtobufError) -> (number: UInt64, value: Value)? {
    guard position < end else { return nil }
    let tag = try varint()
    let number = tag >> 3
    guard number > 0 && number < 1 << 29 else { throw error("field number \(number)") }
    switch tag & 7 {
    case 0: return (number, .varint(try varint()))
    case 1: return (number, .fixed64(try fixed(8)))
    case 2:
      let count = try varint()
      guard count <= UInt64(end - position) else {
        throw error("field \(number) claims \(count) bytes, but \(end - position) are left")
      }
      defer { position += Int(count) }
      return (number, .bytes(position..<position + Int(count)))
    case 5: return (number, .fixed32(UInt32(try fixed(4))))
    default: throw error("field \(number) has the unknown wire type \(tag & 7)")
    }
  }
}
