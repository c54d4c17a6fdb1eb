import Compute
import ComputeCPU
import Model
import Support
import TestSupport
import Testing
import Trainer

/// Base weights that lie in their files otherwise than the Hub's names say: fused experts, and 4-bit
/// checkpoints.
@Suite struct StoredFormatTests {
  private static func copy(_ name: String, to folder: String, changing change: (String) -> String)
    throws
  {
    try FileSystem.makeDirectories(folder)
    for file in ["config.json", "model.safetensors"] {
      try FileSystem.write(
        FileSystem.readBytes("\(Fixture.folder)/\(name)/\(file)"), to: "\(folder)/\(file)")
    }
    let text = try FileSystem.readText("\(folder)/config.json")
    try FileSystem.write(Array(change(text).utf8), to: "\(folder)/config.json")
  }

  /// Runs `body` with a model directory whose tensors are changed.
  private func withChanged(
    _ name: String,
    _ change: (inout [(name: String, type: SafetensorsType, shape: [Int], bytes: [UInt8])]) -> Void,
    _ body: (String) throws -> Void
  ) throws {
    let folder = "/tmp/accelerate-swift-stored-\(UInt64.random(in: 0...UInt64.max))"
    defer { try? FileSystem.remove(folder) }
    try Self.copy(name, to: folder) { $0 }
    let file = try SafetensorsFile(path: "\(folder)/model.safetensors")
    var tensors = file.entries.sorted { $0.key < $1.key }.map {
      (
        name: $0.key, type: $0.value.type, shape: $0.value.shape,
        bytes: file.file.copyBytes($0.value.range)
      )
    }
    change(&tensors)
    var writer = SafetensorsWriter()
    for tensor in tensors {
      writer.add(tensor.name, type: tensor.type, shape: tensor.shape, bytes: tensor.bytes)
    }
    try FileSystem.write(writer.bytes(), to: "\(folder)/model.safetensors")
    try body(folder)
  }

  private func load(_ directory: String, _ quantization: QuantizationSettings = .init()) throws
    -> LoadedBase
  {
    try LoadedBase.load(
      directory: directory, quantization: quantization,
      backend: CPUBackend(threadCount: 1, precision: .float32))
  }

  private func bytes(_ base: LoadedBase, _ slab: Int) throws -> [UInt8] {
    let tensor = try base.stream.slab(slab, next: nil)
    return unsafe Array(UnsafeRawBufferPointer(start: tensor.address, count: tensor.byteCount))
  }

  // MARK: Fused experts

  /// Whole slabs and slices of them hold the same bytes, whichever way the experts are stored.
  @Test(arguments: ["mixtral-experts", "qwen3-experts"], [false, true])
  func fusedExpertsAreTheSameBase(_ name: String, isNF4: Bool) throws {
    let quantization = QuantizationSettings(isNF4: isNF4, isDouble: isNF4)
    let folder = "\(Fixture.folder)/\(name)"
    let single = try load(folder, quantization)
    let fused = try load("\(folder)/fused", quantization)
    #expect(single.layouts.count == fused.layouts.count)
    let backend = CPUBackend(threadCount: 1, precision: .float32)
    let loader = try BaseLoader(
      source: .files(ModelFiles(directory: "\(folder)/fused")), configuration: fused.configuration,
      quantization: quantization, backend: backend)
    for slab in single.layouts.indices {
      let expected = try bytes(single, slab)
      #expect(try bytes(fused, slab) == expected)
      let middle = expected.count / 128 * 64
      for range in [0..<middle, middle..<expected.count] where !range.isEmpty {
        let part = Tensor(
          storage: try backend.makeStorage(byteCount: range.count), columns: range.count,
          elementType: .uint8)
        try loader.load(slab, range: range, into: part)
        let found = unsafe Array(
          UnsafeRawBufferPointer(start: part.address, count: range.count))
        #expect(found == Array(expected[range]))
      }
    }
    #expect(fused.configuration.layers == single.configuration.layers)
  }

  @Test func fusedExpertsOfOtherShapesAreRefused() throws {
    let name = "mixtral-experts/fused"
    for (tensor, words) in [
      ("gate_up_proj", "has shape [8, 24, 40]"), ("down_proj", "has shape [8, 20, 24]"),
    ] {
      try withChanged(name) { tensors in
        for i in tensors.indices where tensors[i].name.hasSuffix(tensor) {
          tensors[i].shape = [tensors[i].shape[0], tensors[i].shape[2], tensors[i].shape[1]]
        }
      } _: { folder in
        let error = #expect(throws: UserError.self) { try load(folder) }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
      }
    }
    try withChanged(name) { tensors in
      tensors.removeAll { $0.name.hasSuffix("layers.1.mlp.experts.down_proj") }
    } _: { folder in
      let error = #expect(throws: UserError.self) { try load(folder) }
      #expect(error?.message.contains("layers.1.mlp.experts.down_proj is missing") == true)
    }
    try withChanged("mixtral-experts") { tensors in
      for (part, shape) in [("gate_up_proj", [8, 40, 24]), ("down_proj", [8, 24, 20])] {
        tensors.append(
          (
            "model.layers.0.mlp.experts.\(part)", .float32, shape,
            [UInt8](repeating: 0, count: shape.reduce(4, *))
          ))
      }
    } _: { folder in
      let error = #expect(throws: UserError.self) { try load(folder) }
      #expect(error?.message.contains("are both there") == true, "\(error?.message ?? "")")
    }
  }

  // MARK: 4-bit checkpoints

  /// Logits of bitsandbytes with float32 products; the codes and scales are those of the file.
  @Test(arguments: ["bitsandbytes", "bitsandbytes-double"])
  func agreesWithBitsAndBytes(_ name: String) throws {
    let isDouble = name.hasSuffix("double")
    let folder = "\(Fixture.folder)/\(name)"
    // What the flags say does not matter: the checkpoint has its own storage.
    for quantization in [
      QuantizationSettings(), QuantizationSettings(isNF4: true, isDouble: !isDouble),
    ] {
      let base = try load(folder, quantization)
      let file = try SafetensorsFile(path: "\(folder)/model.safetensors")
      let slab = try bytes(base, 1)
      var count = 0
      for item in base.layouts[1].items where item.format != .vector {
        #expect(item.format == .nf4(isDouble: isDouble))
        let parts = isDouble ? ["", ".absmax", ".nested_absmax"] : ["", ".absmax"]
        for (part, range) in zip(parts, item.partRanges) {
          let entry = try #require(file.entries[item.name + part])
          #expect(Array(slab[range]) == file.file.copyBytes(entry.range), "\(item.name)\(part)")
        }
        count += 1
      }
      #expect(count == 7)
    }
    let tiny = try TinyModel(name, targets: [.query])
    let pack = try Fixture.pack(name)
    try tiny.backend.zero(tiny.weights)
    let expected = try SafetensorsFile(path: "\(folder)/expected.safetensors")
      .floats(named: "logits")
    #expect(relativeError(try tiny.logits(pack), expected) <= 1e-5)
  }

  /// Quantizing the original while it is loaded gives the same codes and scales.
  @Test func theOriginalQuantizesToTheSame() throws {
    let folder = "\(Fixture.folder)/bitsandbytes"
    let stored = try load(folder)
    let made = try load("\(folder)/plain", QuantizationSettings(isNF4: true))
    #expect(try bytes(stored, 1) == bytes(made, 1))
    let double = try load(folder + "-double")
    let madeDouble = try load(
      "\(folder)/plain", QuantizationSettings(isNF4: true, isDouble: true))
    // The offset is a mean, whose last bit depends on bitsandbytes' threads.
    let (left, right) = (try bytes(double, 1), try bytes(madeDouble, 1))
    for item in double.layouts[1].items where item.format != .vector {
      #expect(left[item.partRanges[0]] == right[item.partRanges[0]])
    }
  }

  @Test(arguments: ["bitsandbytes", "bitsandbytes-double"])
  func slicesOfAStoredBase(_ name: String) throws {
    let folder = "\(Fixture.folder)/\(name)"
    let base = try load(folder)
    let backend = CPUBackend(threadCount: 1, precision: .float32)
    let loader = try BaseLoader(
      source: .files(ModelFiles(directory: folder)), configuration: base.configuration,
      quantization: .init(), backend: backend)
    let expected = try bytes(base, 1)
    for first in stride(from: 0, to: expected.count, by: 4096) {
      let range = first..<min(first + 4096, expected.count)
      let part = Tensor(
        storage: try backend.makeStorage(byteCount: range.count), columns: range.count,
        elementType: .uint8)
      try loader.load(1, range: range, into: part)
      #expect(
        unsafe Array(UnsafeRawBufferPointer(start: part.address, count: range.count))
          == Array(expected[range]))
    }
  }

  @Test(arguments: [
    ("nf4\", \"blocksize\": 64", "nf4\", \"blocksize\": 128", "blocks of 64"),
    ("[64, 64]", "[32, 64]", "says shape [32, 64]"),
    ("\"nested_blocksize\": 256", "\"nested_blocksize\": 128", "blocks of 256"),
    ("\"nested_offset\": ", "\"nested_offset\": \"x\", \"more\": ", "blocks of 256"),
    ("{\"quant_type\"", "[\"quant_type\"", "quant_state.bitsandbytes__nf4"),
  ])
  func brokenStatesAreTold(_ from: String, _ to: String, _ words: String) throws {
    try withChanged("bitsandbytes-double") { tensors in
      for i in tensors.indices where tensors[i].name.hasSuffix("bitsandbytes__nf4") {
        let text = String(decoding: tensors[i].bytes, as: UTF8.self)
        tensors[i].bytes = Array(text.replacing(from, with: to).utf8)
        tensors[i].shape = [tensors[i].bytes.count]
      }
    } _: { folder in
      let error = #expect(throws: UserError.self) { try load(folder) }
      #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }
  }

  @Test func otherFormatsAndTablesAreTold() throws {
    func refused(
      _ words: String,
      _ change: (inout (name: String, type: SafetensorsType, shape: [Int], bytes: [UInt8])) -> Void
    ) throws {
      try withChanged("bitsandbytes-double") { tensors in
        for i in tensors.indices { change(&tensors[i]) }
      } _: { folder in
        let error = #expect(throws: UserError.self) { try load(folder) }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
      }
    }
    try refused("the format fp4 of bitsandbytes is not implemented") { tensor in
      tensor.name = tensor.name.replacing("bitsandbytes__nf4", with: "bitsandbytes__fp4")
    }
    try refused("has other code values") { tensor in
      if tensor.name.hasSuffix("v_proj.weight.quant_map") { tensor.bytes[5] ^= 1 }
    }
    try refused("has other code values") { tensor in
      if tensor.name.hasSuffix("v_proj.weight.nested_quant_map") { tensor.bytes[805] ^= 1 }
    }
    try refused("v_proj.weight.absmax of 32 elements of type U8 is missing") { tensor in
      if tensor.name.hasSuffix("v_proj.weight.absmax") { tensor.name += "es" }
    }
    try refused("bytes of codes") { tensor in
      if tensor.name.hasSuffix("v_proj.weight") {
        tensor.bytes.removeLast()
        tensor.shape[0] -= 1
      }
    }
    try refused("nested_absmax holds inf at element 0") { tensor in
      if tensor.name.hasSuffix("v_proj.weight.nested_absmax") {
        tensor.bytes[2] = 0x80
        tensor.bytes[3] = 0x7F
        tensor.bytes[0] = 0
        tensor.bytes[1] = 0
      }
    }
  }
}
