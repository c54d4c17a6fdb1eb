import Compute
import ComputeCPU
import Model
import Support
import TestSupport
import Testing
import Trainer

/// Models without files: every part of every slab is what the definition of the weights says.
@Suite struct SyntheticWeightsTests {
  static let configuration = """
    {"architectures": ["MixtralForCausalLM"], "vocab_size": 50, "hidden_size": 64,
     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
     "num_key_value_heads": 2, "num_local_experts": 3, "num_experts_per_tok": 2,
     "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 2,
     "torch_dtype": "bfloat16", "initializer_range": 0.05}
    """
  let folder = "/tmp/accelerate-swift-synthetic-\(UInt64.random(in: 0...UInt64.max))"
  let backend = CPUBackend(threadCount: 2)

  private func withModel(
    _ text: String = configuration, _ body: (_ name: String) throws -> Void
  ) throws {
    try FileSystem.makeDirectories(folder)
    defer { try? FileSystem.remove(folder) }
    try FileSystem.write(Array(text.utf8), to: "\(folder)/config.json")
    try body("synthetic:\(folder)/config.json")
  }

  private func bytes(_ tensor: Tensor) -> [UInt8] {
    unsafe Array(UnsafeRawBufferPointer(start: tensor.address, count: tensor.byteCount))
  }

  @Test func elementsFollowFromNamesAlone() throws {
    try withModel { name in
      let base = try LoadedBase.load(directory: name, quantization: .init(), backend: backend)
      guard case .synthetic(let weights) = base.source else {
        Issue.record("not synthetic")
        return
      }
      for (index, layout) in base.layouts.enumerated() {
        let slab = try base.stream.slab(index, next: nil)
        for item in layout.items {
          guard item.format != .vector else {
            let values = try backend.download(layout.vector(item.name, in: slab))
            #expect(values == [Float](repeating: 1, count: item.count))
            continue
          }
          let module = String(item.name.dropLast(".weight".count))
          let out = Tensor(
            storage: try backend.makeStorage(byteCount: 4 * item.count), rows: item.rows,
            columns: item.columns)
          try backend.decode(layout.matrix(module, in: slab), out: out)
          let random = weights.matrix(item.name)
          #expect(random.standardDeviation == 0.05)
          #expect(
            try backend.download(out) == (0..<item.count).map { roundedToBFloat16(random[$0]) },
            "\(item.name)")
        }
      }
    }
  }

  /// A rank that holds a slice makes the bytes that lie there in the whole, whatever the storage.
  @Test(arguments: [
    QuantizationSettings(), QuantizationSettings(isNF4: true),
    QuantizationSettings(isNF4: true, isDouble: true),
  ])
  func slices(_ quantization: QuantizationSettings) throws {
    try withModel { name in
      let base = try LoadedBase.load(
        directory: name, quantization: quantization, backend: backend)
      let (configuration, source) = try BaseSource.open(name)
      let loader = try BaseLoader(
        source: source, configuration: configuration, quantization: quantization,
        backend: CPUBackend(threadCount: 1))
      for index in base.layouts.indices {
        let whole = bytes(try base.stream.slab(index, next: nil))
        for first in stride(from: 0, to: whole.count, by: 4096) {
          let range = first..<min(first + 4096, whole.count)
          let part = Tensor(
            storage: try backend.makeStorage(byteCount: range.count), columns: range.count,
            elementType: .uint8)
          try loader.load(index, range: range, into: part)
          #expect(bytes(part) == Array(whole[range]), "slab \(index) from byte \(first)")
        }
      }
    }
  }

  @Test(arguments: [
    ("bfloat16", "float16", "torch_dtype is float16"), ("0.05", "0", "initializer_range"),
    ("bfloat16", "int8", "torch_dtype: int8"), ("MixtralFor", "OtherFor", "not implemented"),
  ])
  func mistakesAreTold(_ from: String, _ to: String, _ words: String) throws {
    try withModel(Self.configuration.replacing(from, with: to)) { name in
      let error = #expect(throws: UserError.self) { try BaseSource.open(name) }
      #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }
  }
}
