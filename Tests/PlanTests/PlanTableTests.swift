import Glibc
import Support
import Testing
import Trainer

/// What `plan` prints, from a `config.json` alone.
@Suite struct PlanTableTests {
  /// The shape of Mixtral-8x7B.
  static let mixtral = """
    {"architectures": ["MixtralForCausalLM"], "vocab_size": 32000, "hidden_size": 4096,
     "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
     "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
     "max_position_embeddings": 32768, "rms_norm_eps": 1e-05, "hidden_act": "silu",
     "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
    """

  private func plan(_ config: String, _ flags: String) throws -> (text: String, fits: Bool) {
    let folder = try Folder()
    let path = "\(folder.path)/config.json"
    try FileSystem.write(Array(config.utf8), to: path)
    let words = flags.split(separator: " ").map(String.init)
    let configuration = try #require(
      try PlanCommand.configuration(["--model", path, "--threads", "1"] + words))
    let result = try PlanCommand.describe(
      configuration, environment: ProgramEnvironment(cacheDirectory: folder.path))
    return (result.text.replacing(path, with: "config.json"), result.fits)
  }

  /// The value of a row, as text.
  private func row(_ label: String, _ text: String) throws -> String {
    let line = try #require(
      text.split(separator: "\n").first { $0.hasPrefix("  " + label) }, "no \(label) in \(text)")
    let words = line.dropFirst(label.count + 2).split(separator: " ")
    return "\(words[0]) \(words[1])"
  }

  @Test func mixtralTakesTheBytesOfItsFormat() throws {
    let plain = try plan(Self.mixtral, "--quant nf4 --memory 80").text
    // 46.57 G elements: half a byte and a sixteenth of a byte each, 26.2 GB.
    #expect(try row("base: 4-bit codes", plain) == "23.2 GB")
    #expect(try row("base: scales", plain) == "2.9 GB")
    let nested = try plan(Self.mixtral, "--quant nf4 --double-quant --memory 80").text
    #expect(try row("base: scales", nested) == "737.0 MB")
    let dense = try plan(Self.mixtral, "--memory 200").text
    #expect(try row("base: dense weights", dense) == "93.4 GB")
  }

  @Test func tableOfSlicesOnTwoHosts() throws {
    let result = try plan(
      Self.mixtral, "--quant nf4 --ranks 8 --ranks-per-host 4 --shard full --memory 24")
    try expectSnapshot(result.text, "plan-slices.txt")
  }

  @Test func tableOfARunThatDoesNotFit() throws {
    let result = try plan(Self.mixtral, "--ranks 2 --memory 40 --shard none")
    #expect(!result.fits)
    try expectSnapshot(result.text, "plan-too-large.txt")
  }

  /// With little memory some layers are computed again, with less all of them, with much none.
  @Test func asManyLayersAsFitKeepTheirActivations() throws {
    let counts = try ["45", "65", "115", "150"].map { memory in
      let (text, fits) = try plan(
        Self.mixtral, "--quant nf4 --pack-tokens 8192 --max-length 4096 --memory \(memory)")
      #expect(fits)
      if text.contains("activations are kept") { return 0 }
      let words = text.split(whereSeparator: \.isWhitespace)
      let place = try #require(words.firstIndex(of: "layers"))
      return words[place - 2] == "of" ? try #require(Int(words[place - 3])) : 32
    }
    #expect(counts == counts.sorted(by: >))
    #expect(
      counts[0] > counts[1] && counts[1] > counts[2] && counts[2] > 0 && counts[3] == 0, "\(counts)"
    )
  }

  @Test func helpNamesTheFlags() throws {
    try expectSnapshot(PlanConfiguration.parser.helpText(), "plan-help.txt")
  }

  @Test func mistakesAreExplained() throws {
    let unknown = Self.mixtral.replacing("MixtralForCausalLM", with: "GPTNeoXForCausalLM")
    #expect(throws: UserError.self) { try plan(unknown, "") }
    let type = Self.mixtral.replacing("bfloat16", with: "float8_e4m3fn")
    #expect(throws: UserError.self) { try plan(type, "") }
    #expect(throws: UserError.self) { try plan(Self.mixtral, "--ranks 6 --ranks-per-host 4") }
  }
}

/// Compares `text` with a reviewed file in `Snapshots`; ACCELERATE_UPDATE_SNAPSHOTS=1 writes it.
func expectSnapshot(_ text: String, _ name: String) throws {
  let path = FileSystem.parent(of: #filePath) + "/Snapshots/" + name
  if unsafe getenv("ACCELERATE_UPDATE_SNAPSHOTS") != nil {
    try FileSystem.write(Array(text.utf8), to: path)
  }
  #expect(try FileSystem.readText(path) == text, "\(name)")
}
