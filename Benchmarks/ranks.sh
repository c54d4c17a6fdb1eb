#!/bin/bash
# Tokens per second of one rank with two threads and of two ranks with one thread each, in
# alternating runs on the same cores, over a synthetic Llama.
#
#   Benchmarks/ranks.sh [PROGRAM]      ROUNDS=5 LAYERS=4 TOKENS=512
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:-$here/../.build/release/accelerate-swift}")
rounds=${ROUNDS:-5} layers=${LAYERS:-4} tokens=${TOKENS:-512}
folder=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-ranks.XXXXXX")
trap 'rm -rf "$folder"' EXIT
model=$folder/model
LAYERS=$layers HIDDEN=1024 INNER=3584 HEADS=16 KV_HEADS=8 EXPERTS=0 VOCABULARY=4096 \
  "$here/synthetic-model.sh" "$model" 4 $((tokens - 1))

speed() { # ranks, threads: the median of the steps after the first
  rm -rf "$folder/run"
  XDG_CACHE_HOME=$folder/cache "$program" launch --nproc "$1" train --threads "$2" \
    --model "$model" --data "$model/data.jsonl" --train-on all --quant nf4 --lora-r 8 \
    --pack-tokens "$tokens" --max-length "$tokens" --packs-per-step 2 --max-steps 5 \
    --save-steps 0 --output "$folder/run" 2>> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
  grep -oE '"tokens_per_second": [0-9.]+' "$folder/run/metrics.jsonl" | tail -n +2 |
    awk '{ print $2 }' | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

for ((round = 1; round <= rounds; round++)); do
  one=$(speed 1 2) two=$(speed 2 1)
  awk -v one="$one" -v two="$two" -v round="$round" -v tokens="$tokens" -v layers="$layers" 'BEGIN {
    printf "{\"round\": %d, \"layers\": %d, \"pack_tokens\": %d, ", round, layers, tokens
    printf "\"one_rank_two_threads\": %.1f, \"two_ranks_one_thread\": %.1f, \"ratio\": %.3f}\n",
      one, two, two / one
  }'
done
