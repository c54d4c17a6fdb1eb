import Compute
import ComputeCPU
import Support
import TestSupport
import Testing

private let edges = "trajectories/nf4-edge/nf4_edge.safetensors"
private let plainCase = "trajectories/qlora-tiny-llama-nf4/"
private let nestedCase = "trajectories/qlora-tiny-mixtral-nf4-dq/"

/// NF4 and its second quantization, bit for bit as bitsandbytes 0.50.2 computes them.
@Suite struct QuantizationTests {
  let device = TestDevice(CPUBackend(threadCount: 2))

  /// A base matrix of NF4 codes from a file.
  private func matrix(_ codes: [UInt8], _ scales: NF4Scales, count: Int) throws -> BaseMatrix {
    BaseMatrix(
      rows: 1, columns: count,
      format: .nf4(
        codes: try device.tensor(bytes: codes, rows: 1, columns: codes.count, .uint8),
        scales: scales))
  }

  private func plain(_ values: [Float]) throws -> NF4Scales {
    .plain(try device.tensor(Matrix(1, values.count, values)))
  }

  private func nested(_ codes: [UInt8], _ absmax: [Float], _ offset: [Float]) throws -> NF4Scales {
    .nested(
      codes: try device.tensor(bytes: codes, rows: 1, columns: codes.count, .uint8),
      absmax: try device.tensor(Matrix(1, absmax.count, absmax)),
      offset: try device.tensor(Matrix(1, 1, offset)))
  }

  private func quantized(_ x: [Float]) throws -> (codes: [UInt8], absmax: [Float]) {
    let codes = try device.emptyBytes(NF4.codeByteCount(x.count))
    let absmax = try device.empty(1, NF4.blockCount(x.count))
    try device.backend.quantizeNF4(
      try device.tensor(Matrix(1, x.count, x)), codes: codes, absmax: absmax)
    return (try device.bytes(codes), try device.floats(absmax))
  }

  private func decoded(_ matrix: BaseMatrix) throws -> [Float] {
    let out = try device.empty(1, matrix.count)
    try device.backend.decode(matrix, out: out)
    return try device.floats(out)
  }

  /// Every code against the nearest value, found by trying all sixteen.
  @Test(arguments: [1, 2, 15, 16, 17, 63, 64, 65, 127, 1000]) func everyCode(_ count: Int) throws {
    var random = Random(UInt64(count))
    let x = (0..<count).map { _ in Float(random.normal()) }
    let (codes, absmax) = try quantized(x)
    for i in 0..<count {
      let block = x[i / 64 * 64..<min(count, i / 64 * 64 + 64)]
      let largest = block.map(abs).max() ?? 0
      #expect(absmax[i / 64] == largest)
      let scaled = block.count == 64 ? x[i] * (1 / largest) : x[i] / largest
      let distances = NF4.values.map { abs($0 - scaled) }
      let code = Int(i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15)
      #expect(distances[code] <= (distances.min() ?? 0) + 1e-7, "element \(i)")
    }
    if count % 2 == 1 { #expect(codes[count / 2] & 15 == 7) }
  }

  /// Elements of the file's type give the same codes as their values in float32.
  @Test(arguments: [1, 64, 100, 5000]) func halvesAreQuantizedAsTheyAre(_ count: Int) throws {
    var random = Random(9)
    let values = (0..<count).map { _ in Float(random.normal()) }
    for type in [ElementType.bfloat16, .float16] {
      let halves = values.map { value in
        type == .float16
          ? Float16(value).bitPattern : UInt16(truncatingIfNeeded: value.bitPattern >> 16)
      }
      let exact = halves.map { half in
        type == .float16
          ? Float(Float16(bitPattern: half)) : Float(bitPattern: UInt32(half) << 16)
      }
      let x = try device.tensor(
        bytes: halves.flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }, rows: 1, columns: count, type)
      let codes = try device.emptyBytes(NF4.codeByteCount(count))
      let absmax = try device.empty(1, NF4.blockCount(count))
      try device.backend.quantizeNF4(x, codes: codes, absmax: absmax)
      let expected = try quantized(exact)
      #expect(try device.bytes(codes) == expected.codes)
      #expect(bits(try device.floats(absmax)) == bits(expected.absmax))
      #expect(try device.backend.isFinite(x))
    }
  }

  @Test func whatIsNotFiniteIsFound() throws {
    for value in [Float.infinity, -.infinity, .nan] {
      for place in [0, 7, 64, 99_999] {
        var x = [Float](repeating: 3e38, count: 100_000)
        #expect(try device.backend.isFinite(try device.tensor(Matrix(1, x.count, x))))
        x[place] = value
        #expect(try !device.backend.isFinite(try device.tensor(Matrix(1, x.count, x))))
      }
    }
    for (type, infinity) in [(ElementType.bfloat16, UInt8(0x7F)), (.float16, 0x7C)] {
      let high: UInt8 = type == .bfloat16 ? 0x80 : 0
      let x = try device.tensor(
        bytes: [0, 0, high, infinity, 0, 0], rows: 1, columns: 3, type)
      #expect(try !device.backend.isFinite(x))
    }
  }

  @Test(.enabled(if: SharedReference.has(edges), "no \(edges): set ACCELERATE_SHARED"))
  func edgeCases() throws {
    let file = try SharedReference.safetensors(edges)
    let names = file.entries.keys.filter { $0.hasSuffix(".packed") && !$0.hasPrefix("bs") }
      .map { String($0.dropLast(".packed".count)) }.sorted()
    // Others have blocks of another size.
    #expect(names.count == 35)
    for name in names {
      let input = try file.floats(named: "\(name).input")
      let packed = try file.bytes(named: "\(name).packed")
      let recorded = try file.floats(named: "\(name).dequant")
      let (codes, absmax) = try quantized(input)
      #expect(codes == packed, "\(name)")
      let isNested = name.hasSuffix(".dq")
      let scales: NF4Scales
      if isNested {
        let offset = try file.floats(named: "\(name).offset")
        let scaleCodes = try device.emptyBytes(absmax.count)
        let nestedAbsmax = try device.empty(1, NF4.nestedBlockCount(input.count))
        try device.backend.quantizeScales(
          try device.tensor(Matrix(1, absmax.count, absmax)), offset: offset[0], codes: scaleCodes,
          nestedAbsmax: nestedAbsmax)
        let recordedCodes = try file.bytes(named: "\(name).absmax_u8")
        let recordedNested = try file.floats(named: "\(name).nested_absmax")
        #expect(try device.bytes(scaleCodes) == recordedCodes, "\(name)")
        #expect(bits(try device.floats(nestedAbsmax)) == bits(recordedNested), "\(name)")
        scales = try nested(recordedCodes, recordedNested, offset)
      } else {
        let recordedAbsmax = try file.floats(named: "\(name).absmax")
        #expect(bits(absmax) == bits(recordedAbsmax), "\(name)")
        scales = try plain(recordedAbsmax)
      }
      let values = try decoded(try matrix(packed, scales, count: input.count))
      // bitsandbytes returns the input's type; the product of code and scale is rounded to it.
      let expected =
        name.contains("bfloat16")
        ? values.map(roundedToBFloat16)
        : name.contains("float16") ? values.map { Float(Float16($0)) } : values
      #expect(bits(expected) == bits(recorded), "\(name)")
    }
    #expect(bits(NF4.values) == bits(try file.floats(named: "nf4_code")))
    #expect(
      bits(try device.dynamicCodeValues()) == bits(try file.floats(named: "dynamic_map_8bit")))
  }

  @Test(
    .enabled(
      if: SharedReference.has(plainCase + "quant_samples.safetensors"),
      "no \(plainCase): set ACCELERATE_SHARED"))
  func quantizedModel() throws {
    let base = try SharedReference.safetensors("models/tiny-llama-f32/model.safetensors")
    let samples = try SharedReference.safetensors(plainCase + "quant_samples.safetensors")
    let state = try SharedReference.safetensors(plainCase + "bnb_state_dict.safetensors")
    let names = state.entries.keys.filter { $0.hasSuffix(".weight.absmax") }
      .map { String($0.dropLast(".weight.absmax".count)) }
    #expect(names.count == 28)
    var sampled = 0
    for name in names {
      let weight = try base.floats(named: "\(name).weight")
      let (codes, absmax) = try quantized(weight)
      #expect(codes == (try state.bytes(named: "\(name).weight")), "\(name)")
      #expect(bits(absmax) == bits(try state.floats(named: "\(name).weight.absmax")), "\(name)")
      guard let sample = samples.entries["\(name).dequant"], hasWholeBlocks(sample) else {
        continue
      }
      let values = try decoded(try matrix(codes, try plain(absmax), count: weight.count))
      #expect(bits(values) == bits(try samples.floats(named: "\(name).dequant")), "\(name)")
      sampled += 1
    }
    #expect(sampled > 0)
  }

  @Test(
    .enabled(
      if: SharedReference.has(nestedCase + "quant_samples.safetensors"),
      "no \(nestedCase): set ACCELERATE_SHARED"))
  func nestedQuantizedModel() throws {
    let base = try SharedReference.safetensors("models/tiny-mixtral-f32/model.safetensors")
    let samples = try SharedReference.safetensors(nestedCase + "quant_samples.safetensors")
    let state = try SharedReference.safetensors(nestedCase + "bnb_state_dict.safetensors")
    let dynamic = bits(try device.dynamicCodeValues())
    let names = samples.entries.keys.filter { $0.hasSuffix(".dequant") }
      .map { String($0.dropLast(".dequant".count)) }
    #expect(!names.isEmpty)
    for name in names {
      #expect(bits(try samples.floats(named: "\(name).nested_code")) == dynamic)
      let weight = try base.floats(named: "\(name).weight")
      let offset = try samples.floats(named: "\(name).offset")
      let (codes, absmax) = try quantized(weight)
      #expect(codes == (try state.bytes(named: "\(name).weight")), "\(name)")
      let scaleCodes = try device.emptyBytes(absmax.count)
      let nestedAbsmax = try device.empty(1, NF4.nestedBlockCount(weight.count))
      try device.backend.quantizeScales(
        try device.tensor(Matrix(1, absmax.count, absmax)), offset: offset[0], codes: scaleCodes,
        nestedAbsmax: nestedAbsmax)
      let codeBytes = try device.bytes(scaleCodes)
      let nestedValues = try device.floats(nestedAbsmax)
      #expect(codeBytes == (try state.bytes(named: "\(name).weight.absmax")), "\(name)")
      #expect(
        bits(nestedValues) == bits(try samples.floats(named: "\(name).nested_absmax")), "\(name)")
      guard let sample = samples.entries["\(name).dequant"], hasWholeBlocks(sample) else {
        continue
      }
      let values = try decoded(
        try matrix(codes, try nested(codeBytes, nestedValues, offset), count: weight.count))
      #expect(bits(values) == bits(try samples.floats(named: "\(name).dequant")), "\(name)")
    }
  }

  /// Where rows are not whole blocks, bitsandbytes' CPU kernel decodes with the scales of other
  /// blocks (it counts the whole blocks of each row); what it recorded there is no reference.
  private func hasWholeBlocks(_ entry: SafetensorsFile.Entry) -> Bool {
    (entry.shape.last ?? 0) % NF4.blockSize == 0
  }

  /// What needs no file: every element decodes to the nearest code of its block.
  @Test(arguments: [1, 63, 64, 65, 1000, 40_001]) func nearestCode(_ count: Int) throws {
    var random = Random(UInt64(count))
    let x = random.matrix(1, count).floats
    let (codes, absmax) = try quantized(x)
    for block in 0..<NF4.blockCount(count) {
      let range = block * 64..<min(count, block * 64 + 64)
      #expect(absmax[block] == x[range].map(abs).max())
      for i in range {
        let code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15
        let scaled = Double(x[i]) / Double(absmax[block])
        let nearest = NF4.values.map { abs(Double($0) - scaled) }.min() ?? 0
        #expect(abs(Double(NF4.values[Int(code)]) - scaled) <= nearest + 1e-7)
      }
    }
    if count % 2 == 1 { #expect(codes[count / 2] & 15 == 7) }
  }

  /// A value on a bound has the lower code; scales are rounded to a grid before the nearest code
  /// is taken; zero is not the centre
  /// of that grid; nothing is divided by zero. Values and codes as bitsandbytes has them.
  @Test func boundsAndGrid() throws {
    var x = [Float](repeating: 0, count: 128)
    x[0] = 1
    x[1] = -0.8480963706970215
    x[2] = 0.5016634464263916
    x[3] = x[2].nextUp
    let (codes, absmax) = try quantized(x)
    #expect(Array(codes[0..<3]) == [0xF0, 0xCD, 0x77])
    #expect(codes[32...].allSatisfy { $0 == 0x77 })
    #expect(absmax == [1, 0])

    let scales = try device.tensor(Matrix(1, 4, [1.5, 0.560634095, 0.491689808, 0.5] as [Float]))
    let scaleCodes = try device.emptyBytes(4)
    try device.backend.quantizeScales(
      scales, offset: 0.5, codes: scaleCodes, nestedAbsmax: try device.empty(1, 1))
    #expect(try device.bytes(scaleCodes) == [255, 176, 98, 131])
  }

  private func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
}
