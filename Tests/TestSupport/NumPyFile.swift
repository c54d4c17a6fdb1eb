internal import Support

/// An array of float32 in a `.npy` file of version 1, C order.
package struct NumPyFile {
  package let shape: [Int]
  package let values: [Float]

  package init(path: String) throws {
    let bytes = try FileSystem.readBytes(path)
    let headerEnd = bytes.count >= 10 ? 10 + Int(bytes[8]) + Int(bytes[9]) << 8 : 0
    guard bytes.starts(with: [0x93] + Array("NUMPY".utf8)), headerEnd > 10,
      headerEnd <= bytes.count
    else { throw UserError(.badInput, at: path, "no NumPy file") }
    let header = String(decoding: bytes[10..<headerEnd], as: UTF8.self)
    guard header.contains("'descr': '<f4'"), header.contains("'fortran_order': False"),
      let open = header.firstIndex(of: "("), let close = header.firstIndex(of: ")")
    else { throw UserError(.badInput, at: path, "not float32 in C order: \(header)") }
    shape = header[header.index(after: open)..<close].split(separator: ",").compactMap {
      Int(String($0.filter { $0 != " " }))
    }
    values = stride(from: headerEnd, to: bytes.count - 3, by: 4).map { first in
      Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[first + $1]) << (8 * $1) })
    }
    guard shape.reduce(1, *) == values.count else {
      throw UserError(.badInput, at: path, "\(values.count) values for shape \(shape)")
    }
  }
}
