internal import Support

extension ConfigurationReader {
  /// Every member of a `config.json` must be known: to be read, to say nothing about the numbers, or
  /// to be off. Whatever else is there may change the arithmetic and is refused by name.
  func checkMembers(_ architecture: ModelConfiguration.Architecture) throws(UserError) {
    let read = Self.readByAll.union(Self.read(by: architecture))
    for (name, value) in json.objectValue?.members ?? [] where !value.isNull {
      if read.contains(name) || Self.withoutEffect.contains(name) { continue }
      if Self.onlyOff.contains(name) {
        guard Self.isOff(value) else {
          throw error("\(name): \(value.compactText.prefix(80)) is not implemented")
        }
      } else if Self.onlyOne.contains(name) {
        guard value.doubleValue == 1 else {
          throw error("\(name): \(value.compactText.prefix(80)) is not implemented, only 1")
        }
      } else {
        throw error(
          "\(name.prefix(80)): \(value.compactText.prefix(80)) is not known for "
            + "\(architecture.rawValue) and may change what it computes",
          fix: "if it changes nothing, take it out of config.json; otherwise the model is of a "
            + "kind that is not implemented")
      }
    }
    let activation = json["hidden_act"].flatMap { $0.isNull ? nil : $0.stringValue } ?? "silu"
    // Two names of one function.
    guard ["silu", "swish"].contains(activation) else {
      throw error("hidden_act: \(activation.prefix(80)) is not implemented, only silu")
    }
  }

  private static func isOff(_ value: JSONValue) -> Bool {
    switch value {
    case .null, .bool(false): true
    case .integer(let number): number == 0
    case .double(let number): number == 0
    case .array(let elements): elements.isEmpty
    case .object(let object): object.count == 0
    case .bool(true), .string: false
    }
  }

  private static let readByAll: Set<String> = [
    "architectures", "bos_token_id", "eos_token_id", "head_dim", "hidden_act", "hidden_size",
    "intermediate_size", "layer_types", "max_position_embeddings", "num_attention_heads",
    "num_hidden_layers", "num_key_value_heads", "quantization_config", "rms_norm_eps",
    "rope_parameters", "rope_scaling", "rope_theta", "tie_word_embeddings", "vocab_size",
  ]

  private static func read(by architecture: ModelConfiguration.Architecture) -> Set<String> {
    switch architecture {
    case .llama: ["attention_bias", "mlp_bias"]
    case .mistral: ["sliding_window"]
    case .mixtral:
      ["sliding_window", "num_local_experts", "num_experts_per_tok", "router_aux_loss_coef"]
    case .qwen2:
      ["attention_bias", "sliding_window", "use_sliding_window", "max_window_layers"]
    case .qwen3:
      ["attention_bias", "sliding_window", "use_sliding_window", "max_window_layers"]
    case .qwen3Mixture:
      // transformers takes the window for all layers here, whatever max_window_layers says.
      [
        "attention_bias", "sliding_window", "use_sliding_window", "max_window_layers",
        "decoder_sparse_step", "mlp_only_layers", "moe_intermediate_size", "norm_topk_prob",
        "num_experts", "num_local_experts", "num_experts_per_tok", "router_aux_loss_coef",
      ]
    }
  }

  /// What these families would compute otherwise when they were on. Dropout of attention, noise on
  /// the router and the like act in training alone; a run would still not be the one asked for.
  private static let onlyOff: Set<String> = [
    "add_cross_attention", "attention_bias", "attention_dropout", "attn_logit_softcapping",
    "attn_pdrop", "cross_attention_hidden_size", "embd_pdrop", "final_logit_softcapping",
    "hidden_dropout", "is_encoder_decoder", "mlp_bias", "neftune_noise_alpha", "pruned_heads",
    "resid_pdrop", "rope_interleaved", "router_jitter_noise", "tie_encoder_decoder", "use_mrope",
    "use_qk_norm",
  ]

  /// Factors that are there in related families.
  private static let onlyOne: Set<String> = [
    "attention_multiplier", "embedding_multiplier", "logits_scaling", "partial_rotary_factor",
    "residual_multiplier",
  ]

  /// How to run, to generate, to initialize or to label: nothing of it changes a pass or its loss.
  private static let withoutEffect: Set<String> = [
    // Where the model came from, and what runs it.
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal",
    "_commit_hash", "_experts_implementation", "_flash_attn_2_enabled", "_name_or_path",
    "_pre_quantization_dtype", "attn_implementation", "auto_map", "dtype",
    "is_llama_config", "model_type", "torch_dtype", "transformers.js_config",
    "transformers_version", "transformers_weights", "unsloth_fixed", "unsloth_version",
    "use_bfloat16", "use_flash_attention_2", "use_flash_attn", "torchscript",
    // How it is run; chunks and tensor parallel slices of old versions change no sum.
    "chunk_size_feed_forward", "is_decoder", "output_attentions", "output_hidden_states",
    "output_router_logits", "output_scores", "pretraining_tp", "return_dict",
    "return_dict_in_generate", "tf_legacy_loss", "tp_degree", "use_cache",
    // How it was trained.
    "initializer_range", "max_sequence_length", "model_max_length", "tokenizer_class",
    "tokenizer_model_max_length", "tokenizer_padding_side", "padding_side",
    // Tokens.
    "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "pad_token_id",
    "prefix", "sep_token_id", "unk_token_id",
    // Generation and heads of other tasks.
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "finetuning_task",
    "id2label", "label2id", "length_penalty", "max_length", "max_new_tokens", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels", "num_return_sequences",
    "problem_type", "remove_invalid_values", "repetition_penalty", "suppress_tokens",
    "task_specific_params", "temperature", "top_k", "top_p", "typical_p",
  ]
}
