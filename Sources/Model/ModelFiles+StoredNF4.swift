internal import Compute
internal import Support

/// A matrix that lies in its file as NF4, in bitsandbytes' layout.
struct StoredNF4 {
  /// Codes and scales: the tensors that are the parts of a slab's item, in its order.
  let tensors: [String]
  /// Of the second quantization; nil without it.
  let offset: Float?

  var isDouble: Bool { offset != nil }
}

extension ModelFiles {
  /// Codes and scales of a matrix that is stored as NF4.
  ///
  /// - Parameters:
  ///   - name: of the weight; what belongs to it has longer names.
  ///   - shape: `[rows, columns]`.
  /// - Returns: nil for a tensor of plain numbers.
  /// - Throws: ``UserError`` for other 4-bit or 8-bit formats, other block sizes or code values,
  ///   and tensors that do not belong together.
  func storedNF4(_ name: String, shape: [Int]) throws(UserError) -> StoredNF4? {
    guard shape.count == 2 else { return nil }
    func refuse(_ message: String) -> UserError {
      UserError(
        .badInput, at: directory, "tensor \(name): \(message)",
        fix: "give the bf16, f16 or f32 checkpoint; --quant nf4 quantizes it while loading")
    }
    for (suffix, format) in [(".quant_state.bitsandbytes__fp4", "fp4"), (".SCB", "int8")]
    where contains(name + suffix) || contains(Self.module(name) + suffix) {
      throw refuse("the format \(format) of bitsandbytes is not implemented, only nf4")
    }
    let state = name + ".quant_state.bitsandbytes__nf4"
    guard contains(state) else { return nil }
    let settings = try quantizationState(state)
    let declared = settings["shape"]?.arrayValue?.map { $0.intValue ?? -1 }
    guard declared == shape else {
      throw refuse("its quant_state says shape \(declared ?? []), config.json \(shape)")
    }
    guard settings["quant_type"]?.stringValue == "nf4", settings["blocksize"]?.intValue == 64
    else { throw refuse("its quant_state is not nf4 in blocks of 64") }
    let count = shape[0] * shape[1]
    let blocks = NF4.blockCount(count)
    // The codes may be stored as any type; their bytes are the same.
    guard let codes = locations[name]?.entry, codes.range.count == NF4.codeByteCount(count) else {
      throw refuse("no \(NF4.codeByteCount(count)) bytes of codes")
    }
    try checkTable(name + ".quant_map", NF4.values)
    guard let offset = settings["nested_offset"], !offset.isNull else {
      try require(name + ".absmax", .float32, blocks)
      return StoredNF4(tensors: [name, name + ".absmax"], offset: nil)
    }
    guard let offset = offset.doubleValue.map({ Float($0) }), offset.isFinite,
      settings["nested_blocksize"]?.intValue == NF4.nestedBlockSize
    else { throw refuse("its scales are not quantized in blocks of 256 with an offset") }
    try require(name + ".absmax", .uint8, blocks)
    try require(name + ".nested_absmax", .float32, NF4.nestedBlockCount(count))
    try checkTable(name + ".nested_quant_map", DynamicCode.values)
    return StoredNF4(
      tensors: [name, name + ".absmax", name + ".nested_absmax"], offset: offset)
  }

  private static func module(_ name: String) -> String {
    name.hasSuffix(".weight") ? String(name.dropLast(7)) : name
  }

  /// The JSON that bitsandbytes keeps as bytes of a tensor.
  private func quantizationState(_ name: String) throws(UserError) -> JSONValue {
    guard let (file, entry) = locations[name], entry.type == .uint8, entry.range.count <= 1 << 16
    else { throw UserError(.badInput, at: directory, "tensor \(name) is no quantization state") }
    do throws(JSONError) {
      return try JSONParser.parse(files[file].file.copyBytes(entry.range), maximumDepth: 4)
    } catch {
      throw UserError(.badInput, at: files[file].path, "tensor \(name): \(error)")
    }
  }

  private func require(_ name: String, _ type: SafetensorsType, _ count: Int) throws(UserError) {
    guard let entry = locations[name]?.entry, entry.type == type, entry.elementCount == count else {
      throw UserError(
        .badInput, at: directory,
        "tensor \(name) of \(count) elements of type \(type.rawValue) is missing",
        fix: "copy or download the model again")
    }
  }

  /// The values that codes stand for must be those that are computed with.
  private func checkTable(_ name: String, _ values: [Float]) throws(UserError) {
    try require(name, .float32, values.count)
    guard try floats(name) == values else {
      throw UserError(
        .badInput, at: directory, "tensor \(name) has other code values than bitsandbytes' own",
        fix: "give the bf16, f16 or f32 checkpoint; --quant nf4 quantizes it while loading")
    }
  }

  func byteCount(of name: String) throws(UserError) -> Int {
    guard let location = locations[name] else {
      throw UserError(.badInput, at: directory, "tensor \(name) is missing")
    }
    return location.entry.range.count
  }

  func isFloat32(_ name: String) -> Bool { locations[name]?.entry.type == .float32 }
}
