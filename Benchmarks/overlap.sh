#!/bin/bash
# How much of the gathering of a sliced base hides behind the computation, over two emulated hosts
# with a limited link and one thread each (root only; see Tests/Cluster/cluster.sh):
#
#   hidden = (t_none + t_gather - t_full) / t_gather
#
# t_none and t_full are medians of the seconds of a step with --shard none and full, in alternating
# runs; t_gather is the time of the same gathers with nothing to compute.
#
#   Benchmarks/overlap.sh [PROGRAM]      RATE=400mbit ROUNDS=3 TOKENS=256 LAYERS=6
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:-$here/../.build/release/accelerate-swift}")
rate=${RATE:-400mbit} rounds=${ROUNDS:-3} tokens=${TOKENS:-256} layers=${LAYERS:-6}
folder=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-overlap.XXXXXX")
export CLUSTER_DIR=$folder/cluster
cluster=$here/../Tests/Cluster/cluster.sh
trap '"$cluster" down; rm -rf "$folder"' EXIT

model=$folder/model
LAYERS=$layers HIDDEN=1024 INNER=3584 HEADS=16 KV_HEADS=8 EXPERTS=0 VOCABULARY=2048 \
  "$here/synthetic-model.sh" "$model" 4 $((tokens - 1))
"$cluster" up
# The links are emulated by the cores that compute. A timer that is late by some milliseconds must
# not cost the link its rate, as it would cost no network card: hence the large burst.
"$cluster" rate "$rate" 512kb
printf 'host-a slots=1\nhost-b slots=1\n' > "$folder/hostfile"

launch() {
  "$cluster" exec host-a env XDG_CACHE_HOME="$folder/cache" ACCELERATE_THREADS=1 \
    "$program" launch --hostfile "$folder/hostfile" \
    --ssh-config "$CLUSTER_DIR/ssh_config" "$@" < /dev/null
}

step_seconds() { # shard
  rm -rf "$folder/run"
  launch train --model "$model" --data "$model/data.jsonl" --train-on all --quant nf4 \
    --lora-r 8 --pack-tokens "$tokens" --max-length "$tokens" \
    --packs-per-step 2 --max-steps 6 --save-steps 0 --shard "$1" --shard-group world \
    --threads 1 --output "$folder/run" 2>> "$folder/log"
  grep -oE '"step_seconds": [0-9.e-]+' "$folder/run/metrics.jsonl" |
    awk '{ print $2 }' | tail -n +2
}

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

: > "$folder/none"; : > "$folder/full"
for ((round = 0; round < rounds; round++)); do
  step_seconds none >> "$folder/none"
  step_seconds full >> "$folder/full"
done
# MB of the base that a rank sends in a step, and the time of one all-gather of 4 MB a rank.
sent=$("$program" plan --model "$model" --quant nf4 --lora-r 8 --pack-tokens "$tokens" \
  --max-length "$tokens" --packs-per-step 2 --ranks 2 --ranks-per-host 1 --shard full \
  --shard-group world --threads 1 | awk '/base, layer by layer/ { for (i = 1; i <= NF; i++)
    if ($i == "MB") { print $(i - 1); exit } }')
gather=$(for ((round = 0; round < 5; round++)); do
  launch _rank-test gather=4000000 | awk '/^gather of/ { print $(NF - 1) }'
done | median)
echo "step seconds: none $(paste -sd" " "$folder/none"); full $(paste -sd" " "$folder/full")" >&2
awk -v none="$(median < "$folder/none")" -v full="$(median < "$folder/full")" -v sent="$sent" \
  -v gather="$gather" -v rate="$rate" -v tokens="$tokens" -v layers="$layers" 'BEGIN {
  gather *= sent / 4
  printf "{\"rate\": \"%s\", \"layers\": %d, \"pack_tokens\": %d, \"t_none\": %.3f, ", rate, layers, tokens, none
  printf "\"t_full\": %.3f, \"gathered_megabytes\": %.1f, \"t_gather\": %.3f, ", full, sent, gather
  printf "\"hidden\": %.3f}\n", (none + gather - full) / gather
}'
