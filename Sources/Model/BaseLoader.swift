package import Compute
package import Support

/// Reads the frozen base from its files into slabs, or into a rank's slices of them, quantizing on
/// the way. Tensors are read in chunks through a staging of fixed size, so that loading takes
/// ``stagingByteCount`` more memory than its result.
package struct BaseLoader {
  package let files: ModelFiles
  package let slabs: [SlabLayout]
  private let backend: any Backend
  /// Elements that are read at a time; whole NF4 blocks and nested blocks.
  private static let chunkElementCount = 1 << 20

  /// What is held of one chunk: its bytes in the file's type, its values, and as NF4 its codes and
  /// scales.
  private struct Staging {
    let bytes: Tensor
    let values: Tensor
    /// Where the device reads values; these themselves where its memory is the host's.
    let deviceValues: Tensor
    let codes: Tensor
    let absmax: Tensor

    static let partByteCounts = [
      4 * chunkElementCount, 4 * chunkElementCount, NF4.codeByteCount(chunkElementCount),
      4 * NF4.blockCount(chunkElementCount),
    ]

    init(_ backend: any Backend) throws {
      func tensor(_ index: Int, _ type: ElementType) throws -> Tensor {
        let count = Self.partByteCounts[index]
        return Tensor(
          storage: try backend.makeStorage(byteCount: count), columns: count / type.byteCount,
          elementType: type)
      }
      // What is read from files is converted by the host.
      bytes = try backend.makeHostTensor(byteCount: Self.partByteCounts[0])
      values = try backend.makeHostTensor(byteCount: Self.partByteCounts[1], .float32)
      deviceValues = backend.hasHostMemory ? values : try tensor(1, .float32)
      codes = try tensor(2, .uint8)
      absmax = try tensor(3, .float32)
    }
  }

  /// The most memory that loading takes besides what it makes.
  ///
  /// - Parameter slabs: that are loaded.
  /// - Returns: bytes.
  package static func stagingByteCount(_ slabs: [SlabLayout]) -> Int {
    // Double quantization looks at the scales of a whole tensor.
    let scales = slabs.flatMap(\.items).reduce(0) { most, item in
      guard case .nf4(isDouble: true) = item.format else { return most }
      return max(
        most, 5 * NF4.blockCount(item.count) + 4 * NF4.nestedBlockCount(item.count))
    }
    return Staging.partByteCounts.reduce(scales, +)
  }

  /// - Parameters:
  ///   - files: the model's tensors.
  ///   - configuration: their shapes.
  ///   - quantization: storage format of the linears.
  ///   - backend: computes the quantization.
  /// - Throws: ``UserError`` when a tensor is missing or has another shape.
  package init(
    files: ModelFiles, configuration: ModelConfiguration, quantization: QuantizationSettings,
    backend: any Backend
  ) throws(UserError) {
    self.files = try files.splittingExperts(configuration)
    self.backend = backend
    slabs = try SlabLayout.slabs(configuration, self.files, quantization)
  }

  /// Makes a slice of a slab.
  ///
  /// - Parameters:
  ///   - index: which slab.
  ///   - range: the bytes of the slab that are wanted; nil for all. Cut at multiples of 64.
  ///   - out: `[1, range.count]` uint8; overwritten.
  /// - Throws: ``UserError`` when a weight is not a finite number, or the device fails.
  package func load(_ index: Int, range: Range<Int>? = nil, into out: Tensor) throws {
    let layout = slabs[index]
    let range = range ?? 0..<layout.byteCount
    precondition(out.count >= range.count && out.elementType == .uint8)
    let staging = try Staging(backend)
    for item in layout.items {
      let bytes = item.byteOffset..<item.byteOffset + item.byteCount
      if bytes.overlaps(range) { try load(item, range, out, staging) }
    }
  }

  /// Makes the parts of one item that lie in `range`.
  private func load(
    _ item: SlabLayout.Item, _ range: Range<Int>, _ out: Tensor, _ staging: Staging
  ) throws {
    let parts = item.partRanges
    if let stored = try files.storedNF4(item.name, shape: item.fileShape) {
      try copyStored(stored, item, range, out, staging)
      return
    }
    switch item.format {
    case .vector:
      for first in stride(from: 0, to: item.count, by: Self.chunkElementCount) {
        let elements = first..<min(item.count, first + Self.chunkElementCount)
        let start = parts[0].lowerBound + 4 * first
        try copy(
          finiteValues(item, elements, staging).values, to: start..<start + 4 * elements.count,
          range, out)
      }
    case .dense(let type):
      // Elements as they lie in the file, chunk by chunk, looked at on the way.
      for first in stride(from: 0, to: item.count, by: Self.chunkElementCount) {
        let elements = first..<min(item.count, first + Self.chunkElementCount)
        let start = parts[0].lowerBound + first * type.byteCount
        let bytes = start..<start + elements.count * type.byteCount
        guard bytes.overlaps(range) else { continue }
        try copy(finiteValues(item, elements, staging).bytes, to: bytes, range, out)
      }
    case .nf4(isDouble: false):
      try quantize(item, parts, range, out, staging) { absmax, blocks in
        let start = parts[1].lowerBound + blocks.lowerBound * 4
        try copy(absmax, to: start..<start + blocks.count * 4, range, out)
      }
    case .nf4(isDouble: true):
      // The offset is a mean over the whole tensor, so all of it is looked at.
      let blockCount = NF4.blockCount(item.count)
      let absmax = try makeTensor(blockCount * 4, .float32)
      try quantize(item, parts, range, out, staging, readsAll: true) { part, blocks in
        try backend.copy(part, to: absmax.elements(blocks))
      }
      var sum = 0.0
      for first in stride(from: 0, to: blockCount, by: 1 << 16) {
        let part = absmax.elements(first..<min(blockCount, first + 1 << 16))
        sum = try backend.download(part).reduce(sum) { $0 + Double($1) }
      }
      let offset = Float(sum / Double(blockCount))
      let codes = try makeTensor(blockCount, .uint8)
      let nested = try makeTensor(NF4.nestedBlockCount(item.count) * 4, .float32)
      try backend.quantizeScales(absmax, offset: offset, codes: codes, nestedAbsmax: nested)
      try copy(codes, to: parts[1], range, out)
      try copy(nested, to: parts[2], range, out)
      try write([offset], to: parts[3], range, out)
    }
  }

  /// Quantizes chunk by chunk; codes in `range` are kept, scales go to `takeScales`.
  ///
  /// Without `readsAll` chunks of which neither codes nor scales are wanted are passed over.
  private func quantize(
    _ item: SlabLayout.Item, _ parts: [Range<Int>], _ range: Range<Int>, _ out: Tensor,
    _ staging: Staging, readsAll: Bool = false,
    takeScales: (_ absmax: Tensor, _ blocks: Range<Int>) throws -> Void
  ) throws {
    for first in stride(from: 0, to: item.count, by: Self.chunkElementCount) {
      let elements = first..<min(item.count, first + Self.chunkElementCount)
      let firstBlock = first / NF4.blockSize
      let blocks = firstBlock..<firstBlock + NF4.blockCount(elements.count)
      let codeStart = parts[0].lowerBound + first / 2
      let codeBytes = codeStart..<codeStart + NF4.codeByteCount(elements.count)
      let scaleStart = parts[1].lowerBound + firstBlock * 4
      let scaleBytes = scaleStart..<scaleStart + blocks.count * 4
      guard readsAll || codeBytes.overlaps(range) || scaleBytes.overlaps(range) else { continue }
      let values = try finiteValues(item, elements, staging).values
      let codes = staging.codes.elements(0..<codeBytes.count)
      let absmax = staging.absmax.elements(0..<blocks.count)
      try backend.quantizeNF4(onDevice(values, staging), codes: codes, absmax: absmax)
      try copy(codes, to: codeBytes, range, out)
      try takeScales(absmax, blocks)
    }
  }

  /// Copies codes and scales that the file has, chunk by chunk.
  private func copyStored(
    _ stored: StoredNF4, _ item: SlabLayout.Item, _ range: Range<Int>, _ out: Tensor,
    _ staging: Staging
  ) throws {
    let parts = item.partRanges
    for (part, name) in stored.tensors.enumerated() {
      let place = parts[part]
      let byteCount = try files.byteCount(of: name)
      for first in stride(from: 0, to: byteCount, by: staging.bytes.count) {
        let count = min(staging.bytes.count, byteCount - first)
        let bytes = place.lowerBound + first..<place.lowerBound + first + count
        guard bytes.overlaps(range) else { continue }
        let chunk = staging.bytes.elements(0..<count)
        try files.read(name, from: first, to: chunk)
        if part > 0, files.isFloat32(name) { try checkFinite(chunk, name, first / 4) }
        try copy(chunk, to: bytes, range, out)
      }
    }
    if let offset = stored.offset { try write([offset], to: parts[3], range, out) }
  }

  private func checkFinite(_ bytes: Tensor, _ name: String, _ first: Int) throws(UserError) {
    let values = unsafe bytes.address.assumingMemoryBound(to: Float.self)
    for i in 0..<bytes.count / 4 where unsafe !values[i].isFinite {
      throw notFinite(name, unsafe values[i], first + i)
    }
  }

  private func notFinite(_ name: String, _ value: Float, _ element: Int) -> UserError {
    UserError(
      .notFinite, at: files.directory, "tensor \(name) holds \(value) at element \(element)",
      fix: "copy or download the model again, or use another checkpoint; training would only "
        + "spread it")
  }

  /// The same values where the device reads them.
  private func onDevice(_ values: Tensor, _ staging: Staging) throws -> Tensor {
    if backend.hasHostMemory { return values }
    let copy = staging.deviceValues.elements(0..<values.count)
    try backend.copy(values, to: copy)
    return copy
  }

  private func makeTensor(_ byteCount: Int, _ type: ElementType) throws -> Tensor {
    Tensor(
      storage: try backend.makeStorage(byteCount: max(byteCount, 1)),
      columns: byteCount / type.byteCount, elementType: type)
  }

  private func write(
    _ values: [Float], to place: Range<Int>, _ range: Range<Int>, _ out: Tensor
  ) throws {
    let tensor = try makeTensor(values.count * 4, .float32)
    try backend.upload(values, to: tensor)
    try copy(tensor, to: place, range, out)
  }

  /// Copies what of `source`, which belongs at `place` of the slab, lies in `range`.
  private func copy(
    _ source: Tensor, to place: Range<Int>, _ range: Range<Int>, _ out: Tensor
  ) throws {
    let wanted = (place.lowerBound..<place.lowerBound + source.byteCount).clamped(to: range)
    guard !wanted.isEmpty, place.overlaps(range) else { return }
    let bytes = Tensor(
      storage: source.storage, byteOffset: source.byteOffset, columns: source.byteCount,
      elementType: .uint8)
    try backend.copy(
      bytes.elements(
        wanted.lowerBound - place.lowerBound..<wanted.upperBound - place.lowerBound),
      to: out.elements(
        wanted.lowerBound - range.lowerBound..<wanted.upperBound - range.lowerBound))
  }

  /// Elements of a tensor as they lie in the file and as float32, all of them finite; both lie in
  /// the staging until the next call.
  private func finiteValues(_ item: SlabLayout.Item, _ elements: Range<Int>, _ staging: Staging)
    throws(UserError) -> (bytes: Tensor, values: Tensor)
  {
    let type = files.type(of: item.name)
    let bytes = staging.bytes.elements(0..<elements.count * type.byteCount)
    let values = staging.values.elements(0..<elements.count)
    try files.read(item.name, from: elements.lowerBound * type.byteCount, to: bytes)
    let isFinite = unsafe convert(bytes.address, type, elements.count, to: values.floats)
    guard isFinite else {
      let position = (0..<elements.count).first { unsafe !values.floats[$0].isFinite } ?? 0
      throw notFinite(
        item.name, unsafe values.floats[position], elements.lowerBound + position)
    }
    return (bytes, values)
  }

  /// Makes float32 values of a file's elements.
  ///
  /// - Returns: whether all of them are finite.
  private func convert(
    _ bytes: UnsafeMutableRawPointer, _ type: ElementType, _ count: Int,
    to out: UnsafeMutablePointer<Float>
  ) -> Bool {
    // An exponent of all ones is an infinity or no number.
    var most: UInt32 = 0
    switch type {
    case .bfloat16:
      let source = unsafe bytes.assumingMemoryBound(to: UInt16.self)
      for i in 0..<count {
        let bits = unsafe UInt32(source[i]) << 16
        unsafe out[i] = Float(bitPattern: bits)
        most = max(most, bits & 0x7F80_0000)
      }
    case .float16:
      let source = unsafe bytes.assumingMemoryBound(to: UInt16.self)
      for i in 0..<count {
        let value = unsafe float(fromFloat16: source[i])
        unsafe out[i] = value
        most = max(most, value.bitPattern & 0x7F80_0000)
      }
    default:
      let source = unsafe bytes.assumingMemoryBound(to: UInt32.self)
      for i in 0..<count {
        let bits = unsafe source[i]
        unsafe out[i] = Float(bitPattern: bits)
        most = max(most, bits & 0x7F80_0000)
      }
    }
    return most < 0x7F80_0000
  }
}
