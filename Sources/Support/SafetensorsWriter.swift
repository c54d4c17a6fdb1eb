/// Builds a safetensors file in memory: the same tensors give the same bytes.
package struct SafetensorsWriter {
  private var tensors: [(name: String, type: SafetensorsType, shape: [Int], bytes: [UInt8])] = []
  private let metadata: [String: String]

  /// - Parameter metadata: text values for the header, written sorted by name.
  package init(metadata: [String: String] = ["format": "pt"]) {
    self.metadata = metadata
  }

  /// Adds a float32 tensor.
  package mutating func add(_ name: String, shape: [Int], floats: [Float]) {
    precondition(shape.reduce(1, *) == floats.count, "\(name): shape and values differ")
    add(
      name, type: .float32, shape: shape, bytes: unsafe floats.withUnsafeBytes { unsafe Array($0) })
  }

  /// Adds a tensor of little-endian bytes.
  package mutating func add(
    _ name: String, type: SafetensorsType, shape: [Int], bytes: [UInt8]
  ) {
    precondition(shape.reduce(type.byteCount, *) == bytes.count, "\(name): shape and bytes differ")
    tensors.append((name, type, shape, bytes))
  }

  /// The whole file: tensors sorted by name, the header padded with spaces to 8 bytes.
  package func bytes() -> [UInt8] {
    let sorted = tensors.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    var header = JSONObject()
    if !metadata.isEmpty {
      header["__metadata__"] = .object(
        JSONObject(metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    }
    var offset = 0
    for tensor in sorted {
      header[tensor.name] = [
        "dtype": .string(tensor.type.rawValue),
        "shape": .array(tensor.shape.map { .integer($0) }),
        "data_offsets": [.integer(offset), .integer(offset + tensor.bytes.count)],
      ]
      offset += tensor.bytes.count
    }
    var text = Array(JSONValue.object(header).compactText.utf8)
    while text.count % 8 != 0 { text.append(UInt8(ascii: " ")) }
    var result: [UInt8] = []
    result.reserveCapacity(8 + text.count + offset)
    for shift in 0..<8 { result.append(UInt8(truncatingIfNeeded: text.count >> (8 * shift))) }
    result += text
    for tensor in sorted { result += tensor.bytes }
    return result
  }
}
