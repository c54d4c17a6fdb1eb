import Compute
import ComputeCPU
import GoldenReference
import Model
import Support
import Testing
import Trainer

@Suite(.enabled(if: Reference.isAvailable, "\(Reference.reason)"))
struct QuantizedBaseTests {
  /// The codes and scales of every quantized matrix, as bitsandbytes has them.
  @Test func codesAndScalesAreThoseOfBitsandbytes() throws {
    let backend = CPUBackend(threadCount: 1)
    let base = try LoadedBase.load(
      directory: "\(Reference.directory)/models/tiny-llama-f32",
      quantization: QuantizationSettings(isNF4: true), backend: backend)
    let reference = try SafetensorsFile(
      path: "\(Reference.directory)/trajectories/qlora-tiny-llama-nf4/bnb_state_dict.safetensors")
    var compared = 0
    for (index, layout) in base.layouts.enumerated() {
      let slab = try base.stream.slab(index, next: nil)
      for item in layout.items where item.format == .nf4(isDouble: false) {
        let matrix = layout.matrix(String(item.name.dropLast(".weight".count)), in: slab)
        guard case .nf4(let codes, .plain(let absmax)) = matrix.format else { continue }
        let theirCodes = try #require(reference.entries[item.name])
        let theirScales = try #require(reference.entries["\(item.name).absmax"])
        let ours = unsafe Array(
          UnsafeRawBufferPointer(start: codes.address, count: codes.byteCount))
        let equal = unsafe reference.withBytes(theirCodes) { unsafe Array($0) == ours }
        #expect(equal, "codes of \(item.name)")
        #expect(
          try backend.download(absmax) == reference.floats(theirScales),
          "scales of \(item.name)")
        compared += 1
      }
    }
    #expect(compared == 28)
  }
}
extension QuantizedBaseTests {
  @Test func decodedSamples() throws {
    let backend = CPUBackend(threadCount: 1)
    let base = try LoadedBase.load(
      directory: "\(Reference.directory)/models/tiny-llama-f32",
      quantization: QuantizationSettings(isNF4: true), backend: backend)
    let reference = try SafetensorsFile(
      path: "\(Reference.directory)/trajectories/qlora-tiny-llama-nf4/quant_samples.safetensors")
    for name in reference.entries.keys.sorted() where name.hasSuffix(".dequant") {
      let module = String(name.dropLast(".dequant".count))
      let layer = try #require(Int(module.split(separator: ".")[2]))
      let matrix = base.layouts[layer + 1].matrix(
        module, in: try base.stream.slab(layer + 1, next: nil))
      let out = Tensor(
        storage: try backend.makeStorage(byteCount: 4 * matrix.count), columns: matrix.count)
      try backend.decode(matrix, out: out)
      let theirs = try reference.floats(try #require(reference.entries[name]))
      #expect(try backend.download(out) == theirs, "\(module)")
    }
  }
}
