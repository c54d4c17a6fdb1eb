package import Compute
package import Support

/// Reads the frozen base from its files into slabs, or into a rank's slices of them, quantizing on
/// the way. Tensors are read in chunks, so that loading takes little more memory than its result.
package struct BaseLoader {
  package let files: ModelFiles
  package let slabs: [SlabLayout]
  private let backend: any Backend
  /// Elements that are read at a time; whole NF4 blocks and nested blocks.
  private static let chunkElementCount = 1 << 22

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
    self.files = files
    self.backend = backend
    slabs = try SlabLayout.slabs(configuration, files, quantization)
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
    for item in layout.items {
      let bytes = item.byteOffset..<item.byteOffset + item.byteCount
      if bytes.overlaps(range) { try load(item, range, out) }
    }
  }

  /// Makes the parts of one item that lie in `range`.
  private func load(_ item: SlabLayout.Item, _ range: Range<Int>, _ out: Tensor) throws {
    let parts = item.partRanges
    switch item.format {
    case .vector:
      try write(try finiteValues(item, 0..<item.count), to: parts[0], range, out)
    case .dense(let type):
      // Elements as they lie in the file, chunk by chunk, looked at on the way.
      for first in stride(from: 0, to: item.count, by: Self.chunkElementCount) {
        let elements = first..<min(item.count, first + Self.chunkElementCount)
        let start = parts[0].lowerBound + first * type.byteCount
        let bytes = start..<start + elements.count * type.byteCount
        guard bytes.overlaps(range) else { continue }
        _ = try finiteValues(item, elements)
        let wanted = bytes.clamped(to: range)
        files.copyBytes(
          of: item.name, from: wanted.lowerBound - parts[0].lowerBound,
          to: out.elements(
            wanted.lowerBound - range.lowerBound..<wanted.upperBound - range.lowerBound))
      }
    case .nf4(isDouble: false):
      try quantize(item, parts, range, out) { absmax, blocks in
        let start = parts[1].lowerBound + blocks.lowerBound * 4
        try copy(absmax, to: start..<start + blocks.count * 4, range, out)
      }
    case .nf4(isDouble: true):
      // The offset is a mean over the whole tensor, so all of it is looked at.
      let blockCount = NF4.blockCount(item.count)
      let absmax = try makeTensor(blockCount * 4, .float32)
      try quantize(item, parts, range, out, readsAll: true) { part, blocks in
        try backend.copy(part, to: absmax.elements(blocks))
      }
      let sum = try backend.download(absmax).reduce(0.0) { $0 + Double($1) }
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
    readsAll: Bool = false, takeScales: (_ absmax: Tensor, _ blocks: Range<Int>) throws -> Void
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
      let values = try finiteValues(item, elements)
      let staging = try makeTensor(values.count * 4, .float32)
      let codes = try makeTensor(codeBytes.count, .uint8)
      let absmax = try makeTensor(blocks.count * 4, .float32)
      try backend.upload(values, to: staging)
      try backend.quantizeNF4(staging, codes: codes, absmax: absmax)
      try copy(codes, to: codeBytes, range, out)
      try takeScales(absmax, blocks)
    }
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

  /// Elements of a tensor as float32, all of them finite.
  private func finiteValues(_ item: SlabLayout.Item, _ elements: Range<Int>) throws(UserError)
    -> [Float]
  {
    let values = try files.floats(item.name, elements)
    guard values.allSatisfy(\.isFinite) else {
      let position = values.firstIndex { !$0.isFinite } ?? 0
      throw UserError(
        .notFinite, at: files.directory,
        "tensor \(item.name) holds \(values[position]) at element \(elements.lowerBound + position)",
        fix: "copy or download the model again, or use another checkpoint; training would only "
          + "spread it")
    }
    return values
  }
}
