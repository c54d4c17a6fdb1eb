internal import Model
package import Support

extension TrainConfiguration {
  /// The flags of `train`.
  package static let parser = CommandLineParser(
    command: "accelerate-swift train",
    summary: "Fine-tunes LoRA adapters over a frozen base model; without --model and --data it "
      + "trains the embedded demo.",
    groups: [
      OptionGroup(
        "Model and data",
        [ModelOptions.modelOption, SampleOptions.dataOption]
          + [
            Option(
              "eval-data", .path, defaultText: "none",
              "File of held-out rows for the evaluation loss."),
            Option(
              "holdout", .text(placeholder: "X|N"), defaultText: "none",
              "Part of the rows, such as 0.05, or their number, such as 200, that is not trained on "
                + "but gives the evaluation loss. A row's hash decides, so that neither order nor "
                + "other rows matter; of a number, those with the smallest hashes."),
          ] + SampleOptions.templateOptions + [
            Option(
              "train-on", .choice(words(TrainOn.self)), default: .text("completion"),
              "Which tokens are learned: answers with their ends (of conversations every turn of the "
                + "assistant, also called assistant), the last answer only, or all.")
          ] + SampleOptions.lengthOptions
          + SampleOptions.cacheOptions),
      OptionGroup("Steps", stepOptions),
      OptionGroup("Optimizer", optimizerOptions),
      OptionGroup("LoRA", loraOptions),
      OptionGroup(
        "Memory and speed",
        ModelOptions.storageOptions + [
          Option(
            "gradient-checkpointing", .choice(words(GradientCheckpointing.self)),
            default: .text("auto"),
            "Computes activations again in the backward pass to save memory; auto: of as few layers as "
              + "the memory asks for.")
        ] + ModelOptions.machineOptions),
      OptionGroup("Output", outputOptions + [CommandLineParser.configurationOption]),
    ])

  private static let stepOptions = [
    Option(
      "pack-tokens", .integer(2...1 << 24), defaultText: "2048, or --max-length where it is more",
      "Most tokens of a pack, which is filled with whole samples."),
    Option(
      "samples-per-pack", .integer(1...1 << 20), defaultText: "none",
      "Makes packs of this many consecutive samples, in place of --pack-tokens."),
    Option(
      "packs-per-step", .integer(1...1 << 20), default: .integer(8),
      "Packs of an optimizer step over all ranks; the number of ranks does not change it."),
    Option("no-shuffle", .toggle, "Keeps the order of the data."),
    Option(
      "seed", .integer(0...Int.max), default: .integer(42),
      "Seed of the shuffle, the adapter's start and dropout."),
    Option(
      "epochs", .integer(1...1 << 20), defaultText: "1, or as many as --max-steps needs",
      "Passes over the data."),
    Option(
      "max-steps", .integer(1...1 << 40), defaultText: "no limit",
      "Number of steps; with --epochs, the end that comes first."),
  ]

  private static let optimizerOptions = [
    Option("lr", .number(.positive), default: .number(2e-4), "Highest learning rate."),
    Option(
      "lr-scheduler", .choice(words(Scheduler.self)), default: .text("linear"),
      "How the learning rate goes on after the warm-up: constant, or down to 0 at the last step."),
    Option(
      "warmup-steps", .integer(0...1 << 40), default: .integer(0),
      "Steps over which the learning rate rises from 0."),
    Option("weight-decay", .number(.nonNegative), default: .number(0), "AdamW's decoupled decay."),
    Option("adam-beta1", .number(.belowOne), default: .number(0.9), "Decay of the first moment."),
    Option(
      "adam-beta2", .number(.belowOne), default: .number(0.999), "Decay of the second moment."),
    Option(
      "adam-eps", .number(.positive), default: .number(1e-8),
      "Added to the root of the second moment."),
    Option(
      "max-grad-norm", .number(.nonNegative), default: .number(1),
      "Clips the norm of the whole gradient; 0 turns clipping off."),
    Option(
      "router-aux-loss-coef", .number(.nonNegative), defaultText: "from the model's config.json",
      "Weight of the router's load-balancing loss in a mixture of experts."),
  ]

  private static let loraOptions = [
    Option("lora-r", .integer(1...1 << 16), default: .integer(16), "Rank of the adapters."),
    Option(
      "lora-alpha", .number(.positive), default: .number(32),
      "Numerator of the adapters' scale, alpha / r."),
    Option(
      "lora-dropout", .number(.belowOne), default: .number(0),
      "Share of an adapter's inputs that is dropped in training."),
    Option(
      "lora-targets", .list(placeholder: "LIST"),
      default: .list(LoRATargets.allLinear.map(\.rawValue)),
      "Modules with adapters: q, k, v, o, w1 (gate_proj), w2 (down_proj), w3 (up_proj), gate "
        + "(the router), lm_head; all-linear is the first seven."),
    Option("rslora", .toggle, "Scales by alpha / sqrt(r)."),
    Option(
      "init-adapter", .path, defaultText: "a fresh adapter",
      "Directory of a PEFT adapter to start from."),
  ]

  private static let outputOptions = [
    Option(
      "output", .path, defaultText: "runs/NAME-N, the first that is free",
      "Directory for the adapter, metrics and checkpoints."),
    Option("resume", .toggle, "Continues from the newest checkpoint in --output."),
    Option(
      "eval-steps", .integer(0...1 << 40), default: .integer(0),
      "Steps between evaluations of --eval-data or --holdout; 0 is at the end only."),
    Option(
      "save-steps", .integer(0...1 << 40), default: .integer(100),
      "Steps between checkpoints; 0 is at the end only."),
    Option(
      "logging-steps", .integer(1...1 << 40), default: .integer(1),
      "Steps between lines of the log; metrics.jsonl has every step."),
    Option(
      "keep-checkpoints", .integer(0...1 << 20), default: .integer(2),
      "Newest checkpoints that are kept; 0 keeps all."),
  ]
}
