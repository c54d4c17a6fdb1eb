#!/bin/bash
# Memory of the frozen base per rank: a synthetic Mixtral of about 1 GB in NF4, held by 1, 2 and 4
# ranks, whole or in slices. Reads /proc/PID/smaps_rollup of every rank while it trains a pack of a
# few tokens, so that little but the base is there.
#
#   Benchmarks/memory.sh [PROGRAM]      LAYERS=9 sets the size; 4 GB of disk in TMPDIR
set -euo pipefail
program=$(realpath "${1:-.build/release/accelerate-swift}")
layers=${LAYERS:-9} hidden=2048 inner=3584 heads=16 groups=4 experts=8 vocabulary=16000
folder=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-memory.XXXXXX")
trap 'rm -rf "$folder"' EXIT
model=$folder/model
mkdir "$model"

cat > "$model/config.json" <<END
{"architectures": ["MixtralForCausalLM"], "vocab_size": $vocabulary, "hidden_size": $hidden,
 "intermediate_size": $inner, "num_hidden_layers": $layers, "num_attention_heads": $heads,
 "num_key_value_heads": $groups, "num_local_experts": $experts, "num_experts_per_tok": 2,
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
}' > "$folder/block"
{
  for shift in 0 8 16 24 32 40 48 56; do
    printf "\\x$(printf %02x $((${#text} >> shift & 255)))"
  done
  printf %s "$text"
  (for ((i = 0; i <= offset / 1048576; i++)); do cat "$folder/block"; done) | head -c "$offset" || true
} > "$model/model.safetensors"
ids=$(seq -s, 3 17)
for row in 1 2 3 4; do echo "{\"input_ids\": [$ids]}"; done > "$model/data.jsonl"

flags="--quant nf4 --lora-r 1 --lora-targets q --pack-tokens 16 --max-length 16 --packs-per-step 4"
total=$("$program" plan --model "$model" $flags --threads 1 | awk '/^  base/ { print }')
echo "the base, whole:"
echo "$total"
printf '%-6s %-5s %-5s %12s %12s %12s %12s\n' shard ranks rank private shared 'share of' 'file pages'

# Ranks below a process, by number.
ranks_of() {
  local child
  for child in $(cat /proc/"$1"/task/*/children 2> /dev/null); do
    if tr '\0' ' ' < /proc/"$child"/cmdline 2> /dev/null | grep -q "^$program train"; then
      echo "$child"
    fi
    ranks_of "$child"
  done
}

measure() { # shard, ranks
  local output=$folder/run-$1-$2 start=("$program")
  (($2 > 1)) && start=("$program" launch --nproc "$2")
  ACCELERATE_THREADS=1 XDG_CACHE_HOME=$folder/cache "${start[@]}" train --model "$model" \
    --data "$model/data.jsonl" --train-on all $flags --shard "$1" --epochs 1000 --save-steps 0 \
    --output "$output" 2> "$folder/log" &
  local job=$!
  until [[ -s $output/metrics.jsonl ]]; do
    kill -0 $job 2> /dev/null || { cat "$folder/log"; exit 1; }
    sleep 0.2
  done
  local rank=0 pid
  for pid in $( (($2 > 1)) && ranks_of $job || echo $job); do
    awk -v shard="$1" -v ranks="$2" -v rank=$((rank++)) '
      /^Anonymous:/ { anonymous = $2 }
      /^Pss_File:/ { file = $2 }
      /^Pss_Shmem:/ { part = $2 }
      FILENAME ~ /status$/ && /^RssShmem:/ { shared = $2 }
      END {
        printf "%-6s %-5d %-5d %9.1f MB %9.1f MB %9.1f MB %9.1f MB\n", shard, ranks, rank,
          anonymous * 1024e-6, shared * 1024e-6, part * 1024e-6, file * 1024e-6
      }' /proc/"$pid"/smaps_rollup /proc/"$pid"/status
  done
  grep -h '^memory per rank' "$folder/log" || true
  kill $job 2> /dev/null || true
  wait $job 2> /dev/null || true
}

for ranks in 1 2 4; do
  for shard in none full; do
    ((ranks == 1)) && [[ $shard == full ]] && continue
    measure $shard $ranks
  done
done
