import Support
import TestSupport
import Testing

/// Adapters to begin with, or to evaluate, that fit or do not.
@Suite(.timeLimit(.minutes(5))) struct AdapterInputTests {
  private let place: Workplace
  private let tiny = TinyModel()
  private let model: String

  init() throws {
    place = try Workplace()
    model = try tiny.write(place("model"))
    try place.write("rows.jsonl", tiny.rows(12))
    let run = try place.run(
      [
        "train", "--model", model, "--data", place("rows.jsonl"), "--output", place("adapter"),
        "--lora-r", "2", "--lora-targets", "q,v,lm_head", "--lr", "0.01",
      ])
    #expect(run.exitCode == 0, "\(run.errors)")
  }

  private func evaluate(_ model: String) throws -> ProgramRun {
    try place.run([
      "evaluate", "--model", model, "--adapter", place("adapter"), "--data", place("rows.jsonl"),
    ])
  }

  private func begin(_ extra: [String] = []) throws -> ProgramRun {
    try place.run(
      [
        "train", "--model", model, "--data", place("rows.jsonl"), "--output", place("run"),
        "--init-adapter", place("adapter"),
      ] + extra)
  }

  @Test func featuresThatAreMissing() throws {
    let path = place("adapter/adapter_config.json")
    let original = try FileSystem.readJSON(path)
    let changes: [(String, JSONValue)] = [
      ("use_dora", true), ("bias", "all"), ("lora_bias", true), ("fan_in_fan_out", true),
      ("peft_type", "IA3"), ("rank_pattern", ["q_proj": 4]), ("alpha_pattern", ["q_proj": 4]),
      ("modules_to_save", ["lm_head"]), ("target_parameters", ["mlp.experts.gate_up_proj"]),
      ("layers_to_transform", [0]), ("layers_to_transform", 1), ("trainable_token_indices", [3]),
      ("trainable_token_indices", ["embed_tokens": [3]]), ("use_qalora", true),
      ("layer_replication", [[0, 2]]), ("alora_invocation_tokens", [1, 2]),
      ("init_lora_weights", "pissa"), ("kasa_config", ["beta": 0.1]),
    ]
    for (name, value) in changes {
      var object = try #require(original.objectValue)
      object[name] = value
      try FileSystem.write(Array(JSONValue.object(object).prettyText.utf8), to: path)
      expectError(try evaluate(model), ["error: \(path): \(name): ", "is not implemented"])
    }
    for (name, value) in [("r", 0), ("r", "2"), ("lora_alpha", -1)] as [(String, JSONValue)] {
      var object = try #require(original.objectValue)
      object[name] = value
      try FileSystem.write(Array(JSONValue.object(object).prettyText.utf8), to: path)
      expectError(try evaluate(model), ["error: \(path): \(name) is no positive"])
    }
    try FileSystem.write(Array(original.prettyText.utf8), to: path)
    #expect(try evaluate(model).exitCode == 0)
    let run = try begin(["--lora-r", "4"])
    expectError(run, ["--lora-r: differs from the adapter in --init-adapter", "which has 2"])
    #expect(!FileSystem.exists(place("run")))
  }

  @Test func adaptersOfOtherModels() throws {
    var narrow = tiny
    narrow.hidden = 16
    expectError(
      try evaluate(try narrow.write(place("narrow"))), ["error: \(place("adapter"))/adapter_model"])
    var deep = tiny
    deep.layers = 3
    expectError(
      try evaluate(try deep.write(place("deep"))),
      ["model.layers.2.self_attn.q_proj.lora_A.weight is missing"])
    var shallow = tiny
    shallow.layers = 1
    expectError(
      try evaluate(try shallow.write(place("shallow"))),
      ["model.layers.1.self_attn", "belongs to no matrix of this model", "fix: "])
    try FileSystem.remove(place("adapter/adapter_model.safetensors"))
    expectError(try evaluate(model), ["\(place("adapter"))/adapter_model.safetensors: cannot open"])
    try FileSystem.remove(place("adapter"))
    expectError(
      try evaluate(model), ["\(place("adapter")): no adapter_config.json in it", "fix: "])
  }

  /// PEFT saves the base's head beside an adapter on it.
  @Test func theCopyOfTheHeadMustBeTheBases() throws {
    let path = place("adapter/adapter_model.safetensors")
    let before = try evaluate(model)
    #expect(before.exitCode == 0, "\(before.errors)")
    let name = "lm_head.weight"
    let shape = [tiny.vocabulary, tiny.hidden]
    func write(_ head: [Float]) throws {
      let file = try SafetensorsFile(path: path)
      var writer = SafetensorsWriter()
      for (name, entry) in file.entries where !name.contains("base_layer") {
        writer.add(name, shape: entry.shape, floats: try file.floats(entry))
      }
      writer.add("base_model.model.lm_head.base_layer.weight", shape: shape, floats: head)
      try FileSystem.writeAtomically(writer.bytes(), to: path)
    }
    var head = tiny.values(name, shape)
    try write(head)
    let after = try evaluate(model)
    #expect(after.exitCode == 0, "\(after.errors)")
    #expect(after.output == before.output)
    head[9] += 0.5
    try write(head)
    expectError(
      try evaluate(model), ["base_layer.weight differs from the base's lm_head.weight", "fix: "])
  }

  /// The settings that were used are the adapter's, and they give the same run again.
  @Test func theSettingsOfTheAdapterAreWritten() throws {
    #expect(try begin().exitCode == 0)
    let text = try FileSystem.readText(place("run/run.yaml"))
    #expect(text.contains("\nlora-r: 2\n"))
    let again = try place.run([
      "train", "--config", place("run/run.yaml"), "--output", place("again"),
    ])
    #expect(again.exitCode == 0, "\(again.errors)")
    #expect(try RunResult(place("again")).adapter == RunResult(place("run")).adapter)
    let resumed = try place.run([
      "train", "--config", place("run/run.yaml"), "--resume",
    ])
    #expect(resumed.exitCode == 0, "\(resumed.errors)")
    expectError(
      try begin(["--resume", "--lora-dropout", "0.5"]), ["--lora-dropout is 0.5", "has 0"])
  }

  @Test func valuesThatAreNoNumbers() throws {
    let path = place("adapter/adapter_model.safetensors")
    let file = try SafetensorsFile(path: path)
    var writer = SafetensorsWriter()
    for (name, entry) in file.entries {
      var values = try file.floats(entry)
      if name.contains("layers.1.self_attn.v_proj.lora_B") { values[3] = .nan }
      writer.add(name, shape: entry.shape, floats: values)
    }
    try FileSystem.writeAtomically(writer.bytes(), to: path)
    expectError(
      try begin(), ["v_proj.lora_B.weight holds values that are not finite"],
      code: ExitCode.notFinite)
    #expect(!FileSystem.exists(place("run")))
  }
}
