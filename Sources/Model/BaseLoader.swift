package import Compute
package import Support

/// Reads the frozen base from its files into slabs, or into a rank's slices of them, quantizing on
/// the way. Tensors are read in chunks through a staging of fixed size, so that loading takes
/// ``stagingByteCount`` more memory than its result; a thread reads the next chunk while the device
/// works on one. The chunks of a synthetic model are made by the device instead.
package struct BaseLoader {
  package let source: BaseSource
  package let slabs: [SlabLayout]
  private let backend: any Backend
  /// Elements that are read at a time; whole NF4 blocks and nested blocks.
  private static let chunkElementCount = 1 << 20

  /// What is held of the chunk under way.
  private struct Staging {
    /// Its bytes where the device reads them; nil where the device reads the host's memory.
    let raw: Tensor?
    /// As NF4.
    let codes: Tensor
    let absmax: Tensor

    static let readByteCount = 4 * chunkElementCount
    static let (codeByteCount, absmaxByteCount) = (
      NF4.codeByteCount(chunkElementCount), 4 * NF4.blockCount(chunkElementCount)
    )

    init(_ backend: any Backend) throws {
      func tensor(_ count: Int, _ type: ElementType) throws -> Tensor {
        Tensor(
          storage: try backend.makeStorage(byteCount: count), columns: count / type.byteCount,
          elementType: type)
      }
      raw = backend.hasHostMemory ? nil : try tensor(Self.readByteCount, .uint8)
      codes = try tensor(Self.codeByteCount, .uint8)
      absmax = try tensor(Self.absmaxByteCount, .float32)
    }
  }

  /// Bytes of a tensor that are read at once, and what becomes of them.
  private struct Step {
    let name: String
    /// Of random elements, where nothing is read.
    var type = ElementType.uint8
    let start: Int
    let byteCount: Int
    let take: (_ bytes: Tensor) throws -> Void
  }

  /// The most memory that loading takes besides what it makes.
  ///
  /// - Parameters:
  ///   - slabs: that are loaded.
  ///   - hasHostMemory: whether the device's memory is the host's; else its own is counted alone.
  /// - Returns: bytes.
  package static func stagingByteCount(_ slabs: [SlabLayout], hasHostMemory: Bool) -> Int {
    // Double quantization looks at the scales of a whole tensor.
    let scales = slabs.flatMap(\.items).reduce(0) { most, item in
      guard case .nf4(isDouble: true) = item.format else { return most }
      return max(
        most, 5 * NF4.blockCount(item.count) + 4 * NF4.nestedBlockCount(item.count))
    }
    return scales + (hasHostMemory ? 2 : 1) * Staging.readByteCount + Staging.codeByteCount
      + Staging.absmaxByteCount
  }

  /// - Parameters:
  ///   - source: the model's tensors.
  ///   - configuration: their shapes.
  ///   - quantization: storage format of the linears.
  ///   - backend: computes the quantization.
  /// - Throws: ``UserError`` when a tensor is missing or has another shape.
  package init(
    source: BaseSource, configuration: ModelConfiguration, quantization: QuantizationSettings,
    backend: any Backend
  ) throws(UserError) {
    if case .files(let files) = source {
      self.source = .files(try files.splittingExperts(configuration))
    } else {
      self.source = source
    }
    self.backend = backend
    slabs = try SlabLayout.slabs(configuration, quantization, stored: self.source.formats)
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
    let slice = Slice(range: range, out: out)
    var steps: [Step] = []
    for item in layout.items {
      let bytes = item.byteOffset..<item.byteOffset + item.byteCount
      guard bytes.overlaps(range) else { continue }
      if item.format == .vector {
        try loadVector(item, slice)
      } else {
        steps += try self.steps(item, slice, staging)
      }
    }
    switch source {
    case .files(let files):
      let reader = try ReadAhead(files, steps.map { ($0.name, $0.start, $0.byteCount) }, backend)
      for step in steps {
        let bytes = try reader.next()
        try step.take(try onDevice(bytes, staging))
      }
    case .synthetic(let weights):
      let made = try staging.raw ?? makeTensor(steps.map(\.byteCount).max() ?? 0, .uint8)
      for step in steps {
        let bytes = made.elements(0..<step.byteCount)
        try backend.fill(
          bytes.viewed(as: step.type), with: weights.matrix(step.name),
          from: step.start / step.type.byteCount)
        try step.take(bytes)
      }
    }
  }

  /// What is wanted of a slab.
  private struct Slice {
    let range: Range<Int>
    let out: Tensor
  }

  private func loadVector(_ item: SlabLayout.Item, _ slice: Slice) throws {
    let values: [Float]
    switch source {
    case .files(let files): values = try files.floats(item.name)
    case .synthetic(let weights):
      values = [Float](repeating: weights.vectorElement(item.name), count: item.count)
    }
    if let position = values.firstIndex(where: { !$0.isFinite }) {
      throw notFinite(item.name, values[position], position)
    }
    try write(values, to: item.partRanges[0], slice)
  }

  /// How the parts of one matrix that lie in the slice are made.
  private func steps(_ item: SlabLayout.Item, _ slice: Slice, _ staging: Staging) throws -> [Step] {
    let type: ElementType
    switch source {
    case .files(let files):
      if let stored = try files.storedNF4(item.name, shape: item.fileShape) {
        return try steps(stored, files, item, slice)
      }
      type = files.type(of: item.name)
    case .synthetic(let weights): type = weights.model.elementType
    }
    let parts = item.partRanges
    switch item.format {
    case .vector: preconditionFailure("a vector is no matrix")
    case .dense:
      // Elements as they lie in the file, looked at on the way.
      return chunks(item.count).compactMap { elements in
        let start = elements.lowerBound * type.byteCount
        let place = parts[0].lowerBound + start
        let bytes = place..<place + elements.count * type.byteCount
        guard bytes.overlaps(slice.range) else { return nil }
        return Step(name: item.name, type: type, start: start, byteCount: bytes.count) { raw in
          try checkFinite(raw.viewed(as: type), item.name, elements.lowerBound)
          try copy(raw, to: bytes, slice)
        }
      }
    case .nf4(isDouble: false):
      return quantizingSteps(item, type, slice, staging) { absmax, blocks in
        let start = parts[1].lowerBound + blocks.lowerBound * 4
        try copy(absmax, to: start..<start + blocks.count * 4, slice)
      }
    case .nf4(isDouble: true):
      // The offset is a mean over the whole tensor, so all of it is looked at.
      let blockCount = NF4.blockCount(item.count)
      var collected: Tensor?
      return quantizingSteps(item, type, slice, staging, readsAll: true) { part, blocks in
        let absmax = try collected ?? makeTensor(blockCount * 4, .float32)
        collected = absmax
        try backend.copy(part, to: absmax.elements(blocks))
        guard blocks.upperBound == blockCount else { return }
        collected = nil
        try quantizeScales(absmax, parts, slice)
      }
    }
  }

  /// The second quantization of a tensor's scales.
  private func quantizeScales(_ absmax: Tensor, _ parts: [Range<Int>], _ slice: Slice) throws {
    var sum = 0.0
    for first in stride(from: 0, to: absmax.count, by: 1 << 16) {
      let part = absmax.elements(first..<min(absmax.count, first + 1 << 16))
      sum = try backend.download(part).reduce(sum) { $0 + Double($1) }
    }
    let offset = Float(sum / Double(absmax.count))
    let codes = try makeTensor(absmax.count, .uint8)
    let nested = try makeTensor(parts[2].count, .float32)
    try backend.quantizeScales(absmax, offset: offset, codes: codes, nestedAbsmax: nested)
    try copy(codes, to: parts[1], slice)
    try copy(nested, to: parts[2], slice)
    try write([offset], to: parts[3], slice)
  }

  private func chunks(_ count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: Self.chunkElementCount).map {
      $0..<min(count, $0 + Self.chunkElementCount)
    }
  }

  /// Quantizes chunk by chunk; codes in the slice are kept, scales go to `takeScales`.
  ///
  /// Without `readsAll` chunks of which neither codes nor scales are wanted are passed over.
  private func quantizingSteps(
    _ item: SlabLayout.Item, _ type: ElementType, _ slice: Slice, _ staging: Staging,
    readsAll: Bool = false,
    takeScales: @escaping (_ absmax: Tensor, _ blocks: Range<Int>) throws -> Void
  ) -> [Step] {
    let parts = item.partRanges
    return chunks(item.count).compactMap { elements in
      let firstBlock = elements.lowerBound / NF4.blockSize
      let blocks = firstBlock..<firstBlock + NF4.blockCount(elements.count)
      let codeStart = parts[0].lowerBound + elements.lowerBound / 2
      let codeBytes = codeStart..<codeStart + NF4.codeByteCount(elements.count)
      let scaleStart = parts[1].lowerBound + firstBlock * 4
      let scaleBytes = scaleStart..<scaleStart + blocks.count * 4
      guard readsAll || codeBytes.overlaps(slice.range) || scaleBytes.overlaps(slice.range) else {
        return nil
      }
      return Step(
        name: item.name, type: type, start: elements.lowerBound * type.byteCount,
        byteCount: elements.count * type.byteCount
      ) { raw in
        let values = raw.viewed(as: type)
        try checkFinite(values, item.name, elements.lowerBound)
        let codes = staging.codes.elements(0..<codeBytes.count)
        let absmax = staging.absmax.elements(0..<blocks.count)
        try backend.quantizeNF4(values, codes: codes, absmax: absmax)
        try copy(codes, to: codeBytes, slice)
        try takeScales(absmax, blocks)
      }
    }
  }

  /// Codes and scales that the file has.
  private func steps(
    _ stored: StoredNF4, _ files: ModelFiles, _ item: SlabLayout.Item, _ slice: Slice
  ) throws -> [Step] {
    let parts = item.partRanges
    var steps: [Step] = []
    for (part, name) in stored.tensors.enumerated() {
      let place = parts[part]
      let byteCount = try files.byteCount(of: name)
      for start in stride(from: 0, to: byteCount, by: Staging.readByteCount) {
        let count = min(Staging.readByteCount, byteCount - start)
        let bytes = place.lowerBound + start..<place.lowerBound + start + count
        guard bytes.overlaps(slice.range) else { continue }
        steps.append(
          Step(name: name, start: start, byteCount: count) { raw in
            if part > 0, files.isFloat32(name) {
              try checkFinite(raw.viewed(as: .float32), name, start / 4)
            }
            try copy(raw, to: bytes, slice)
          })
      }
    }
    if let offset = stored.offset { try write([offset], to: parts[3], slice) }
    return steps
  }

  // MARK: Checks and copies

  private func checkFinite(_ values: Tensor, _ name: String, _ first: Int) throws {
    // Random elements are finite by their making.
    guard case .files(let files) = source, try !backend.isFinite(values) else { return }
    // Found again in the file, which tells where.
    let place = try files.floats(name, first..<first + values.count).enumerated()
      .first { !$0.element.isFinite }
    throw notFinite(name, place?.element ?? .nan, first + (place?.offset ?? 0))
  }

  private func notFinite(_ name: String, _ value: Float, _ element: Int) -> UserError {
    UserError(
      .notFinite, at: source.name, "tensor \(name) holds \(value) at element \(element)",
      fix: "copy or download the model again, or use another checkpoint; training would only "
        + "spread it")
  }

  /// The same bytes where the device reads them.
  private func onDevice(_ bytes: Tensor, _ staging: Staging) throws -> Tensor {
    guard let raw = staging.raw else { return bytes }
    let copy = raw.elements(0..<bytes.count)
    try backend.copy(bytes, to: copy)
    return copy
  }

  private func makeTensor(_ byteCount: Int, _ type: ElementType) throws -> Tensor {
    Tensor(
      storage: try backend.makeStorage(byteCount: max(byteCount, 1)),
      columns: byteCount / type.byteCount, elementType: type)
  }

  private func write(_ values: [Float], to place: Range<Int>, _ slice: Slice) throws {
    let tensor = try makeTensor(values.count * 4, .float32)
    try backend.upload(values, to: tensor)
    try copy(tensor, to: place, slice)
  }

  /// Copies what of `source`, which belongs at `place` of the slab, lies in the slice.
  private func copy(_ source: Tensor, to place: Range<Int>, _ slice: Slice) throws {
    let range = slice.range
    let wanted = (place.lowerBound..<place.lowerBound + source.byteCount).clamped(to: range)
    guard !wanted.isEmpty, place.overlaps(range) else { return }
    try backend.copy(
      source.viewed(as: .uint8).elements(
        wanted.lowerBound - place.lowerBound..<wanted.upperBound - place.lowerBound),
      to: slice.out.elements(
        wanted.lowerBound - range.lowerBound..<wanted.upperBound - range.lowerBound))
  }
}

/// Reads parts of tensors one after the other, each while the one before is in use.
private final class ReadAhead {
  private let files: ModelFiles
  private let parts: [(name: String, start: Int, byteCount: Int)]
  private let buffers: [Tensor]
  private let thread: SerialThread
  private var position = 0

  init(
    _ files: ModelFiles, _ parts: [(name: String, start: Int, byteCount: Int)],
    _ backend: any Backend
  ) throws {
    self.files = files
    self.parts = parts
    let largest = parts.map(\.byteCount).max() ?? 0
    buffers = [
      try backend.makeHostTensor(byteCount: largest),
      try backend.makeHostTensor(byteCount: largest),
    ]
    thread = try SerialThread()
    start(0)
  }

  private func start(_ index: Int) {
    guard index < parts.count else { return }
    let part = parts[index]
    let buffer = buffers[index % 2].elements(0..<part.byteCount)
    thread.start { [files] () throws(UserError) in
      try files.read(part.name, from: part.start, to: buffer)
    }
  }

  /// The bytes of the next part; valid until the next call.
  func next() throws(UserError) -> Tensor {
    try thread.wait()
    defer { position += 1 }
    start(position + 1)
    return buffers[position % 2].elements(0..<parts[position].byteCount)
  }
}
