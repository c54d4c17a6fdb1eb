#!/bin/bash
# Writes a model directory with random bf16 weights, and data of token rows.
#
#   Benchmarks/synthetic-model.sh DIRECTORY [ROWS] [TOKENS]
#
# Sizes come from the environment: LAYERS HIDDEN INNER HEADS KV_HEADS EXPERTS VOCABULARY; EXPERTS=0 is
# a Llama, others a Mixtral.
set -euo pipefail
model=${1:?a directory} rows=${2:-4} tokens=${3:-15}
layers=${LAYERS:-9} hidden=${HIDDEN:-2048} inner=${INNER:-3584} heads=${HEADS:-16}
groups=${KV_HEADS:-4} experts=${EXPERTS:-8} vocabulary=${VOCABULARY:-16000}
mkdir -p "$model"
block=$(mktemp "${TMPDIR:-/tmp}/accelerate-block.XXXXXX")
trap 'rm -f "$block"' EXIT

mixture= architecture=LlamaForCausalLM
if ((experts > 0)); then
  architecture=MixtralForCausalLM
  mixture="\"num_local_experts\": $experts, \"num_experts_per_tok\": 2,"
fi
cat > "$model/config.json" <<END
{"architectures": ["$architecture"], "vocab_size": $vocabulary, "hidden_size": $hidden,
 "intermediate_size": $inner, "num_hidden_layers": $layers, "num_attention_heads": $heads,
 "num_key_value_heads": $groups, $mixture
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 2,
 "torch_dtype": "bfloat16"}
END

# The weights: a header, then one block of small random numbers over and over.
offset=0 header=
tensor() { # name, rows, columns or nothing
  local count=$(($2 * ${3:-1} * 2)) shape="$2${3:+, $3}"
  header+="${header:+, }\"$1.weight\": {\"dtype\": \"BF16\", \"shape\": [$shape], "
  header+="\"data_offsets\": [$offset, $((offset + count))]}"
  offset=$((offset + count))
}
tensor model.embed_tokens $vocabulary $hidden
tensor model.norm $hidden
tensor lm_head $vocabulary $hidden
for ((layer = 0; layer < layers; layer++)); do
  p=model.layers.$layer
  tensor $p.input_layernorm $hidden
  tensor $p.post_attention_layernorm $hidden
  for m in q o; do tensor $p.self_attn.${m}_proj $hidden $hidden; done
  for m in k v; do tensor $p.self_attn.${m}_proj $((hidden / heads * groups)) $hidden; done
  if ((experts == 0)); then
    for m in gate up; do tensor $p.mlp.${m}_proj $inner $hidden; done
    tensor $p.mlp.down_proj $hidden $inner
    continue
  fi
  tensor $p.block_sparse_moe.gate $experts $hidden
  for ((e = 0; e < experts; e++)); do
    tensor $p.block_sparse_moe.experts.$e.w1 $inner $hidden
    tensor $p.block_sparse_moe.experts.$e.w3 $inner $hidden
    tensor $p.block_sparse_moe.experts.$e.w2 $hidden $inner
  done
done
text="{$header}"
while ((${#text} % 8)); do text+=' '; done
LC_ALL=C awk 'BEGIN {
  srand(1)
  for (i = 0; i < 524288; i++) printf "%c%c", 1 + int(rand() * 127), rand() < 0.5 ? 60 : 188
}' > "$block"
{
  for shift in 0 8 16 24 32 40 48 56; do
    printf "\\x$(printf %02x $((${#text} >> shift & 255)))"
  done
  printf %s "$text"
  (for ((i = 0; i <= offset / 1048576; i++)); do cat "$block"; done) | head -c "$offset" || true
} > "$model/model.safetensors"
ids=$(seq -s, 3 $((tokens + 2)))
for ((row = 0; row < rows; row++)); do echo "{\"input_ids\": [$ids]}"; done > "$model/data.jsonl"
