import Glibc
import Support
import TestSupport
import Testing

/// Model directories that are missing, broken or hostile: each has its error, none a crash.
@Suite(.timeLimit(.minutes(5))) struct ModelFileTests {
  private let place: Workplace
  private let tiny = TinyModel()

  init() throws {
    place = try Workplace()
    try place.write("rows.jsonl", tiny.rows(4))
  }

  /// Trains on a model and expects an error; nothing is written then.
  private func refused(
    _ model: String, _ words: [String], code: Int32 = ExitCode.usage, _ extra: [String] = [],
    location: SourceLocation = #_sourceLocation
  ) throws {
    let run = try place.run(
      ["train", "--model", model, "--data", place("rows.jsonl"), "--output", place("run")] + extra)
    expectError(run, ["error: "] + words, code: code, location: location)
    #expect(!FileSystem.exists(place("run")), sourceLocation: location)
  }

  /// A tokenizer of a kind that is not read matters to text alone.
  @Test func tokenRowsNeedNoTokenizer() throws {
    let model = try tiny.write(place("wordpiece"))
    try place.write(
      "wordpiece/tokenizer.json", #"{"model": {"type": "WordPiece", "vocab": {"a": 1}}}"#)
    func train(_ name: String, _ rows: String) throws -> ProgramRun {
      try place.run([
        "train", "--model", model, "--data", try place.write("\(name).jsonl", rows), "--output",
        place(name),
      ])
    }
    let tokens = try train("tokens", tiny.rows(4))
    #expect(tokens.exitCode == 0, "\(tokens.errors)")
    let text = try train("text", #"{"text": "a"}"#)
    #expect(text.exitCode == 2 && text.errors.contains("WordPiece"), "\(text.errors)")
  }

  @Test func missingFiles() throws {
    try refused(
      place("nowhere"), ["\(place("nowhere")): not a directory", "fix: give the directory"])
    try FileSystem.makeDirectories(place("empty"))
    try refused(place("empty"), ["\(place("empty")): no config.json in it", "fix: "])
    let model = try tiny.write(place("model"))
    try FileSystem.remove("\(model)/model.safetensors")
    try refused(
      model, ["neither model.safetensors nor model.safetensors.index.json", "fix: "])
  }

  @Test func shards() throws {
    let model = try tiny.write(place("sharded"), shards: 3)
    let run = try place.run([
      "train", "--model", model, "--data", place("rows.jsonl"), "--output", place("whole"),
    ])
    #expect(run.exitCode == 0, "\(run.errors)")
    let single = try place.run([
      "train", "--model", try tiny.write(place("single")), "--data", place("rows.jsonl"),
      "--output", place("single-run"),
    ])
    #expect(single.exitCode == 0)
    #expect(
      try RunResult(place("whole")).adapter == RunResult(place("single-run")).adapter)

    let index = try FileSystem.readText("\(model)/model.safetensors.index.json")
    func rewrite(_ old: String, _ new: String) throws {
      try FileSystem.write(
        Array(index.replacing(old, with: new).utf8), to: "\(model)/model.safetensors.index.json")
    }
    let name = "\"model.norm.weight\": \"model-1.safetensors\""
    try rewrite(name, "\"model.norm.weight\": \"../single/model.safetensors\"")
    try refused(model, ["index.json: \"../single/model.safetensors\" is no plain file name"])
    try rewrite(name, "\"model.norm.weight\": \"/etc/passwd\"")
    try refused(model, ["\"/etc/passwd\" is no plain file name"])
    try rewrite(name, "\"model.norm.weight\": \"..\"")
    try refused(model, ["\"..\" is no plain file name"])
    try rewrite(name, "\"model.norm.weight\": 7")
    try refused(model, ["weight_map.model.norm.weight is no file name"])
    try rewrite(name, "\"model.norm.weight\": \"model-0.safetensors\"")
    try refused(model, ["tensor model.norm.weight is not in model-0.safetensors", "fix: "])
    try rewrite(name + ", ", "")
    try refused(model, ["tensor model.norm.weight is missing", "fix: "])
    try rewrite("weight_map", "weights")
    try refused(model, ["index.json: no weight_map in it"])
    try rewrite("{", "")
    try refused(model, ["index.json: "])
    try rewrite("", "")
    try FileSystem.remove("\(model)/model-2.safetensors")
    try refused(model, ["\(model)/model-2.safetensors: cannot open: No such file"])
  }

  @Test func configurations() throws {
    let model = place("model")
    func with(_ name: String, _ value: JSONValue, _ words: [String]) throws {
      try tiny.write(model)
      var settings = tiny.settings
      settings[name] = value
      try FileSystem.write(
        Array(JSONValue.object(settings).prettyText.utf8), to: "\(model)/config.json")
      try refused(model, ["\(model)"] + words)
    }
    try with(
      "architectures", ["FalconForCausalLM"],
      ["config.json: architectures: FalconForCausalLM, which is not implemented", "fix: "])
    try with("architectures", [], ["no architecture is named"])
    try with("hidden_size", 33, ["hidden_size 33 is no multiple of num_attention_heads 4"])
    try with("hidden_size", -32, ["hidden_size: -32 is no positive integer"])
    try with("hidden_size", 1e300, ["hidden_size: 1e+300 is no positive integer"])
    try with("num_hidden_layers", "two", ["num_hidden_layers: \"two\" is no positive integer"])
    try with("num_hidden_layers", 3, ["tensor model.layers.2.", "is missing"])
    try with("num_hidden_layers", 2_147_483_648, ["error: "])
    try with("vocab_size", 65, ["has shape [64, 32], but config.json says [65, 32]"])
    try with("hidden_act", "gelu", ["hidden_act: gelu is not implemented"])
    try with(
      "rope_scaling", ["type": "dynamic", "factor": 4.0], ["type dynamic is not implemented"])
    try with(
      "query_scale", 2, ["config.json: query_scale: 2 is not known for LlamaForCausalLM", "fix: "])
    try with("quantization_config", ["bits": 4], ["quantization_config", "fix: "])
    try with("num_attention_heads", .null, ["num_attention_heads is missing"])
    try FileSystem.write(Array("{\"a\": [1, 2".utf8), to: "\(model)/config.json")
    try refused(model, ["config.json: "])
    try FileSystem.write(
      Array(String(repeating: "[", count: 100_000).utf8), to: "\(model)/config.json")
    try refused(model, ["config.json: "])
  }

  /// Headers of safetensors that claim what is not so.
  @Test func hostileHeaders() throws {
    let model = try tiny.write(place("model"))
    let path = "\(model)/model.safetensors"
    func write(_ header: String, length: UInt64? = nil, data: Int = 64) throws {
      let text = Array(header.utf8)
      let declared = length ?? UInt64(text.count)
      let head = (0..<8).map { UInt8(truncatingIfNeeded: declared >> UInt64(8 * $0)) }
      try FileSystem.write(head + text + [UInt8](repeating: 0, count: data), to: path)
    }
    func tensor(_ name: String, _ shape: String, _ start: String, _ end: String) -> String {
      "\"\(name)\": {\"dtype\": \"F32\", \"shape\": \(shape), \"data_offsets\": [\(start), \(end)]}"
    }
    func refused(_ words: String...) throws {
      try self.refused(model, ["\(path): not a valid safetensors file: "] + words + ["fix: "])
    }
    let bytes = try FileSystem.readBytes(path)
    try FileSystem.write(Array(bytes.dropLast(100)), to: path)
    try refused("data_offsets outside the file")
    try FileSystem.write(bytes + [0], to: path)
    try refused("the tensors end at byte \(bytes.count), the file at \(bytes.count + 1)")
    try FileSystem.write(Array(bytes.prefix(5)), to: path)
    try refused("5 bytes are no header")
    try FileSystem.write([], to: path)
    try refused("0 bytes are no header")
    try FileSystem.write(Array(bytes.prefix(200)), to: path)
    try refused("a header of ")
    try write("{}", length: .max)
    try refused("a header of 18446744073709551615 bytes")
    try write("{}", length: 1 << 62)
    try refused("a header of 4611686018427387904 bytes")
    try write(String(repeating: "[", count: 4096))
    try refused("header: ")
    try write("[]")
    try refused("the header is no JSON object")
    try write("{\"a\": 1}")
    try refused("tensor a: no dtype")
    try write("{\(tensor("a", "[8]", "0", "32")), \(tensor("b", "[12]", "16", "64"))}")
    try refused("tensor b begins at byte ")
    try write("{\(tensor("a", "[4]", "0", "16")), \(tensor("b", "[8]", "32", "64"))}")
    try refused("tensor b begins at byte ")
    try write("{\(tensor("a", "[4]", "0", "16")), \(tensor("a", "[12]", "16", "64"))}")
    try refused("header: ")
    try write("{\(tensor("a", "[4294967296, 4294967296, 4]", "0", "64"))}")
    try refused("tensor a: the shape overflows")
    try write("{\(tensor("a", "[9223372036854775807]", "0", "64"))}")
    try refused("tensor a: the shape overflows")
    try write("{\(tensor("a", "[-16]", "0", "64"))}")
    try refused("tensor a: shape")
    try write("{\(tensor("a", "[16]", "64", "0"))}")
    try refused("tensor a: ")
    try write("{\(tensor("a", "[16]", "-64", "0"))}")
    try refused("tensor a: ")
    try write("{\(tensor("a", "[16]", "9223372036854775743", "9223372036854775807"))}")
    try refused("tensor a: ")
    try write("{\(tensor("a", "[8]", "0", "64"))}")
    try refused("tensor a: ")
    try write("{\"a\": {\"dtype\": \"F4\", \"shape\": [1], \"data_offsets\": [0, 64]}}")
    try refused("tensor a: dtype F4 is not supported")
    // A path that is no file must neither hang nor be read.
    try FileSystem.remove(path)
    try FileSystem.makeDirectories(path)
    try self.refused(model, ["\(path): not a regular file"])
    try FileSystem.remove(path)
    #expect(unsafe mkfifo(path, 0o600) == 0)
    try self.refused(model, ["\(path): not a regular file"])
  }

  @Test(arguments: [Float.nan, .infinity])
  func weightsThatAreNoNumbers(_ value: Float) throws {
    for name in ["model.layers.1.self_attn.k_proj.weight", "model.norm.weight", "lm_head.weight"] {
      let model = try tiny.write(place("model")) { tensor, values in
        if tensor == name { values[5] = value }
      }
      try refused(
        model, ["tensor \(name) holds \(value) at element 5", "fix: "], code: ExitCode.notFinite)
      try refused(
        model, ["tensor \(name) holds \(value) at element 5"], code: ExitCode.notFinite,
        ["--quant", "nf4"])
    }
  }

  @Test func matricesWhoseBlocksCrossRowsAreTold() throws {
    var wide = tiny
    wide.intermediate = 96
    let arguments = [
      "train", "--model", try wide.write(place("wide")), "--data", place("rows.jsonl"), "--output",
      place("wide-run"),
    ]
    let run = try place.run(arguments + ["--quant", "nf4"])
    #expect(run.exitCode == 0)
    #expect(
      run.errors.contains(
        "warning: 2 nf4 matrices have rows that are no whole blocks of 64 (first "
          + "model.layers.0.mlp.down_proj.weight, width 96)"))
    let plain = try place.run([
      "train", "--model", place("wide"), "--data", place("rows.jsonl"), "--output", place("plain"),
    ])
    #expect(!plain.errors.contains("warning"))
  }
}
