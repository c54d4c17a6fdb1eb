#!/bin/bash
# Memory of the frozen base per rank: a synthetic Mixtral of about 1 GB in NF4, held by 1, 2 and 4
# ranks, whole or in slices. Reads /proc/PID/smaps_rollup of every rank while it trains a pack of a
# few tokens, so that little but the base is there.
#
#   Benchmarks/memory.sh [PROGRAM]      LAYERS=9 sets the size; 4 GB of disk in TMPDIR
set -euo pipefail
program=$(realpath "${1:-.build/release/accelerate-swift}")
folder=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-memory.XXXXXX")
trap 'rm -rf "$folder"' EXIT
model=$folder/model
LAYERS=${LAYERS:-9} "$(dirname "$0")/synthetic-model.sh" "$model"

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
