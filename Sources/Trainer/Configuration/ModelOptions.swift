internal import Model
package import Support

/// The settings of every command that runs a model.
package struct ModelOptions: Sendable, Equatable {
  /// How the frozen base is stored.
  package enum Quantization: String, Sendable, CaseIterable { case none, nf4 }
  /// The number format of matrix products.
  package enum MixedPrecision: String, Sendable, CaseIterable { case no, bf16 }
  /// Who holds the frozen base: every host one copy, or every rank a slice.
  package enum Shard: String, Sendable, CaseIterable { case none, full, auto }
  /// Which ranks share one base that is sliced.
  package enum ShardGroup: String, Sendable, CaseIterable { case host, world, auto }
  package enum Device: String, Sendable, CaseIterable { case auto, cpu, cuda }
  /// What carries tensors between ranks.
  package enum Collectives: String, Sendable, CaseIterable { case auto, nccl, mpi }

  /// A directory in Hugging Face layout, or `synthetic:` and the path of a `config.json`; nil is
  /// the embedded demo model.
  package var model: String?
  package var quantization: Quantization
  package var doubleQuantization: Bool
  package var quantizesRouter: Bool
  package var mixedPrecision: MixedPrecision
  package var shard: Shard
  package var shardGroup: ShardGroup
  package var device: Device
  package var collectives: Collectives
  /// 0: as many as the environment says.
  package var threads: Int

  /// What of the model every rank reads: its directory, or the file of a synthetic model's
  /// configuration.
  package var modelPath: String? { model.map { SyntheticWeights.path(in: $0) ?? $0 } }

  package static let modelOption = Option(
    "model", .path, defaultText: "the embedded demo model",
    "Directory of the base model in Hugging Face layout; or synthetic:PATH of a config.json, for "
      + "random weights, with which speed and memory can be measured.")

  package static let storageOptions = [
    Option(
      "quant", .choice(words(Quantization.self)), default: .text("none"),
      "Storage of the base weights: nf4 is QLoRA's 4-bit format."),
    Option("double-quant", .toggle, "Stores the scales of nf4 in 8 bits, too."),
    Option(
      "quant-router", .toggle,
      "Quantizes the router of a mixture of experts, too, as some other tools do."),
    Option(
      "mixed-precision", .choice(words(MixedPrecision.self)), default: .text("no"),
      "Number format of matrix products; sums, norms, router and loss stay float32."),
  ]

  package static let machineOptions = [
    Option(
      "shard", .choice(words(Shard.self)), default: .text("auto"),
      "Where the base lies: none is one copy per host that its ranks read, full is a slice per rank, "
        + "gathered layer by layer; auto takes none where that fits."),
    Option(
      "shard-group", .choice(words(ShardGroup.self)), default: .text("auto"),
      "Ranks that hold a sliced base together: those of a host, or all."),
    Option(
      "device", .choice(words(Device.self)), default: .text("auto"),
      "Where to compute; auto is the CPU, and cuda is one NVIDIA GPU for each rank."),
    Option(
      "collectives", .choice(words(Collectives.self)), default: .text("auto"),
      "What carries gradients and slices of the base between ranks: nccl from GPU to GPU, mpi through "
        + "the host's memory; auto takes nccl where every rank has a GPU of its own and NCCL."),
    Option(
      "threads", .integer(0...1024), default: .integer(0),
      defaultText: "0, this process's share of the cores",
      "Threads of each process on the CPU; results do not depend on it."),
  ]

  /// Takes the settings and checks how they go together.
  package init(_ options: ParsedOptions) throws(UserError) {
    model = options.textIfAny("model")
    quantization = options.choice("quant", as: Quantization.self)
    doubleQuantization = options.flag("double-quant")
    quantizesRouter = options.flag("quant-router")
    mixedPrecision = options.choice("mixed-precision", as: MixedPrecision.self)
    shard = options.choice("shard", as: Shard.self)
    shardGroup = options.choice("shard-group", as: ShardGroup.self)
    device = options.choice("device", as: Device.self)
    collectives = options.choice("collectives", as: Collectives.self)
    if collectives == .nccl && device != .cuda {
      throw options.error(
        "collectives", "is nccl, which moves what lies on GPUs, but --device is \(device.rawValue)",
        fix: "add --device cuda, or leave --collectives out")
    }
    threads = options.integer("threads")
    for name in ["double-quant", "quant-router"] where options.flag(name) && quantization == .none {
      throw options.error(
        name, "needs a quantized base, but --quant is none",
        fix: "add --quant nf4, or leave --\(name) out")
    }
  }

  /// The settings as lines of `run.yaml`.
  var settings: [(name: String, value: JSONValue)] {
    [
      ("model", .init(model)),
      ("quant", .string(quantization.rawValue)),
      ("double-quant", .bool(doubleQuantization)),
      ("quant-router", .bool(quantizesRouter)),
      ("mixed-precision", .string(mixedPrecision.rawValue)),
      ("shard", .string(shard.rawValue)),
      ("shard-group", .string(shardGroup.rawValue)),
      ("device", .string(device.rawValue)),
      ("collectives", .string(collectives.rawValue)),
      ("threads", .integer(threads)),
    ]
  }
}

/// The words of an enumeration, for a choice.
func words<Choice: CaseIterable & RawRepresentable>(_ type: Choice.Type) -> [String]
where Choice.RawValue == String {
  type.allCases.map(\.rawValue)
}

extension JSONValue {
  init(_ text: String?) { self = text.map { .string($0) } ?? .null }
  init(_ number: Int?) { self = number.map { .integer($0) } ?? .null }
  init(_ number: Double?) { self = number.map { .double($0) } ?? .null }
}
