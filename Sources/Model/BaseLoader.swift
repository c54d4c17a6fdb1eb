package import Compute
package import Support

/// Reads the frozen base from its files into slabs, quantizing on the way.
package struct BaseLoader {
  package let files: ModelFiles
  package let slabs: [SlabLayout]
  private let backend: any Backend

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

  /// Fills one slab.
  ///
  /// - Parameters:
  ///   - index: which slab.
  ///   - slab: `[1, bytes]` uint8; overwritten.
  /// - Throws: ``UserError`` when a weight is not a finite number, or the device fails.
  package func load(_ index: Int, into slab: Tensor) throws {
    let layout = slabs[index]
    for item in layout.items {
      let parts = layout.parts(item, in: slab)
      let values = try files.floats(item.name)
      guard values.allSatisfy(\.isFinite) else {
        let position = values.firstIndex { !$0.isFinite } ?? 0
        throw UserError(
          .notFinite, at: files.directory,
          "tensor \(item.name) holds \(values[position]) at element \(position)",
          fix: "copy or download the model again, or use another checkpoint; training would only "
            + "spread it")
      }
      switch item.format {
      case .vector: try backend.upload(values, to: parts[0])
      case .dense:
        unsafe files.withBytes(item.name) { bytes in
          if let source = bytes.baseAddress {
            unsafe parts[0].address.copyMemory(from: source, byteCount: bytes.count)
          }
        }
      case .nf4(let isDouble):
        let staging = Tensor(
          storage: try backend.makeStorage(byteCount: values.count * 4), columns: values.count)
        try backend.upload(values, to: staging)
        try quantize(staging, isDouble: isDouble, parts)
      }
    }
  }

  private func quantize(_ values: Tensor, isDouble: Bool, _ parts: [Tensor]) throws {
    guard isDouble else {
      try backend.quantizeNF4(values, codes: parts[0], absmax: parts[1])
      return
    }
    let blocks = NF4.blockCount(values.count)
    let absmax = Tensor(storage: try backend.makeStorage(byteCount: blocks * 4), columns: blocks)
    try backend.quantizeNF4(values, codes: parts[0], absmax: absmax)
    // The mean over the whole tensor, summed in double precision in order.
    let sum = try backend.download(absmax).reduce(0.0) { $0 + Double($1) }
    let offset = Float(sum / Double(blocks))
    try backend.quantizeScales(absmax, offset: offset, codes: parts[1], nestedAbsmax: parts[2])
    try backend.upload([offset], to: parts[3])
  }
}
