#!/bin/bash
# Speed and memory of training on random weights of an architecture; needs no files but a config.json.
#
#   Benchmarks/speed.sh CONFIG PACK_TOKENS [FLAG of train ...]
#
# Prints one JSON line: tokens/s (median of the steps after the first two), TFLOP/s by 4 FLOP per
# active weight and token, its share of PEAK_TFLOPS where that is given, peak memory beside the plan,
# seconds to the end of the first step, and the mean seconds of a step's phases. From the environment:
# PROGRAM, NPROC=1, STEPS=6, SAMPLE_TOKENS (of each row; default: the smaller of 2048 and the pack),
# PEAK_TFLOPS (989 for an H100 or H200 in bf16).
set -euo pipefail
config=${1:?a config.json} pack=${2:?tokens of a pack}
shift 2
program=$(realpath "${PROGRAM:-.build/release/accelerate-swift}")
ranks=${NPROC:-1} steps=${STEPS:-6}
length=${SAMPLE_TOKENS:-$((pack < 2048 ? pack : 2048))}
folder=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-speed.XXXXXX")
trap 'rm -rf "$folder"' EXIT

start=("$program")
[[ $ranks == 1 ]] || start=("$program" launch --nproc "$ranks")
rows=$(((pack / length) * ranks * steps))
began=$(date +%s.%N)
first=
"${start[@]}" train --model "synthetic:$config" --data "synthetic:${rows}x$length" --train-on all \
  --pack-tokens "$pack" --max-length "$length" --packs-per-step "$ranks" --max-steps "$steps" \
  --save-steps 0 --logging-steps 1 --output "$folder/run" "$@" 2> "$folder/log" > /dev/null &
job=$!
while kill -0 $job 2> /dev/null; do
  if [[ -z $first && -s $folder/run/metrics.jsonl ]]; then first=$(date +%s.%N); fi
  sleep 0.05
done
wait $job || { cat "$folder/log" >&2; exit 1; }
first=${first:-$(date +%s.%N)}

number() { sed -n "s/.*\"$1\": *\([-0-9.e+]*\).*/\1/p"; }
member() { tr -d '\n ' < "$config" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
metrics=$folder/run/metrics.jsonl
# Matrices that a token meets: attention, its experts, the head.
active=$(awk -v C="$(member hidden_size)" -v F="$(member intermediate_size)" \
  -v L="$(member num_hidden_layers)" -v H="$(member num_attention_heads)" \
  -v G="$(member num_key_value_heads)" -v K="$(member num_experts_per_tok)" \
  -v V="$(member vocab_size)" \
  'BEGIN { if (!K) K = 1; printf "%.0f", L * (C * C * (2 + 2 * G / H) + 3 * C * F * K) + V * C }')
rate=$(sed 1,2d "$metrics" | number tokens_per_second | sort -g |
  awk '{ x[NR] = $1 } END { print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2 }')
phases=
for phase in data forward backward exchange optimizer; do
  mean=$(sed 1,2d "$metrics" | number "$phase" | awk '{ s += $1 } END { printf "%.4f", s / NR }')
  phases+="${phases:+, }\"$phase\": $mean"
done
words() { printf '"%s"' "$(printf %s "$1" | tr -d '\\"' | tr '\n' ' ')"; }
awk -v rate="$rate" -v active="$active" -v peak="${PEAK_TFLOPS:-0}" -v ranks="$ranks" \
  -v phases="$phases" -v began="$began" -v first="$first" -v pack="$pack" -v length_="$length" \
  -v steps="$steps" -v date="$(date -u +%F)" \
  -v commit="$(git -C "$(dirname "$0")" rev-parse --short HEAD 2> /dev/null || echo unknown)" \
  -v config="$(words "$(basename "$config" .json)")" -v flags="$(words "$*")" \
  -v device="$(words "$(head -1 "$folder/log")")" \
  -v memory="$(words "$(sed -n -E 's/^peak memory (of a GPU )?per rank: //p' "$folder/log" | tail -1)")" 'BEGIN {
    tflops = 4 * active * rate / 1e12
    printf "{\"date\": \"%s\", \"commit\": \"%s\", \"config\": %s, \"ranks\": %d, ", date, commit, config, ranks
    printf "\"pack_tokens\": %d, \"sample_tokens\": %d, \"steps\": %d, \"flags\": %s, ", pack, length_, steps, flags
    printf "\"device\": %s, \"tokens_per_second\": %.1f, \"tflops\": %.3f, ", device, rate, tflops
    if (peak > 0) printf "\"mfu\": %.4f, ", tflops / peak / ranks
    printf "\"first_step_seconds\": %.2f, \"memory\": %s, \"phase_seconds\": {%s}}\n", first - began, memory, phases
  }'
