#!/bin/bash
# All checks and measurements on a machine with a GPU, in one call of at most nine minutes. What was
# not reached is missing from the results, and said so.
#
#   Benchmarks/gpu.sh [FOLDER]          results; default Benchmarks/results/gpu-DATE
#
# From the environment: PROGRAM (default .build/release/accelerate-swift; a folder of
# scripts/bundle.sh has one that runs without a Swift toolchain), DEVICE=cuda, PEAK_TFLOPS=989,
# SECONDS_IN_ALL=520, CONFIGS (a folder; default Benchmarks/configs), SMALL=1 for tiny shapes, with
# which DEVICE=cpu or the GPU of scripts/emulated-gpu.sh tries the script itself, PYTHON=python3 (with
# torch, transformers, peft and bitsandbytes: it runs the same shapes for comparison).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${OUT:-$here/results/gpu-$(date -u +%F)}}
export PROGRAM=${PROGRAM:-$here/../.build/release/accelerate-swift} PEAK_TFLOPS=${PEAK_TFLOPS:-989}
device=${DEVICE:-cuda} end=$((SECONDS + ${SECONDS_IN_ALL:-520}))
configs=${CONFIGS:-$here/configs}
mkdir -p "$folder"
failures=0

# Runs a command for so many seconds at most, its output in a file, and says how it went.
try() { # name, seconds, command ...
  local name=$1 limit=$2 left=$((end - SECONDS)) began=$SECONDS code
  shift 2
  if ((left < 10)); then echo "$name: not reached" | tee -a "$folder/summary.txt"; return; fi
  timeout $((limit < left ? limit : left)) "$@" > "$folder/$name.txt" 2> "$folder/$name.err"
  code=$?
  ((code == 0)) || failures=$((failures + 1))
  echo "$name: $( ((code == 0)) && echo OK || echo "FAIL, exit $code"), $((SECONDS - began)) s" |
    tee -a "$folder/summary.txt"
  ((code == 0)) || tail -3 "$folder/$name.err" | sed 's/^/    /' | tee -a "$folder/summary.txt"
}

: > "$folder/summary.txt"
nvidia-smi > "$folder/nvidia-smi.txt" 2>&1
try env 30 "$PROGRAM" env
if [[ -n ${SMALL:-} ]]; then
  try test 150 "$PROGRAM" test --only "recorded losses" --device "$device" --json "$folder/test.json"
else
  try test 150 "$PROGRAM" test --quick --device "$device" --json "$folder/test.json"
fi

speed() { # name, seconds, config, pack, flags ...
  local name=$1 limit=$2 config=$3 pack=$4
  shift 4
  try "$name" "$limit" "$here/speed.sh" "$configs/$config.json" "$pack" --device "$device" \
    --quant nf4 --mixed-precision bf16 "$@"
  grep -h '^{' "$folder/$name.txt" 2> /dev/null >> "$folder/speed.jsonl"
}
if [[ -n ${SMALL:-} ]]; then
  STEPS=3 speed tiny-none 60 mixtral-tiny 128
  NPROC=2 STEPS=3 speed tiny-full 60 mixtral-tiny 128 --shard full
else
  # What matters most comes first.
  STEPS=4 speed mixtral-8k 150 mixtral-8x7b 8192
  STEPS=6 speed mixtral-2k 90 mixtral-8x7b 2048
  STEPS=5 speed llama-8k 60 llama-2-7b 8192
  STEPS=8 speed llama-2k 60 llama-2-7b 2048
  if (($(nvidia-smi --list-gpus 2> /dev/null | wc -l) > 1)); then
    NPROC=2 STEPS=4 speed mixtral-8k-full 120 mixtral-8x7b 8192 --shard full
  fi
fi
# The same by transformers + peft, where Python has them.
python=${PYTHON:-python3}
if "$python" -c 'import torch, transformers, peft, bitsandbytes' 2> /dev/null; then
  baseline() { # name, seconds, config, pack, flags ...
    local name=$1 limit=$2 config=$3 pack=$4
    shift 4
    try "$name" "$limit" "$python" "$here/baseline.py" "$configs/$config.json" "$pack" \
      --device "$device" "$@"
    grep -h '^{' "$folder/$name.txt" 2> /dev/null >> "$folder/speed.jsonl"
  }
  if [[ -n ${SMALL:-} ]]; then
    baseline tiny-peft 60 mixtral-tiny 128 --steps 3
  else
    baseline mixtral-8k-peft 120 mixtral-8x7b 8192 --steps 4
    baseline llama-8k-peft 60 llama-2-7b 8192 --steps 4
  fi
else
  echo "transformers + peft: $python has not all of torch, transformers, peft and bitsandbytes" |
    tee -a "$folder/summary.txt"
fi
if command -v compute-sanitizer > /dev/null; then
  try sanitizer 60 compute-sanitizer --error-exitcode 9 "$PROGRAM" train \
    --model "synthetic:$configs/mixtral-tiny.json" --data synthetic:4x64 --train-on all \
    --max-length 64 --max-steps 1 --save-steps 0 --device "$device" --quant nf4 \
    --output "$folder/sanitizer-run"
fi
echo
cat "$folder/summary.txt"
sed -n 's/.*"config": "\([^"]*\)".*"pack_tokens": \([0-9]*\).*"tokens_per_second": \([0-9.]*\).*"tflops": \([0-9.]*\).*"memory": "\([^"]*\)".*/\1, packs of \2: \3 tokens\/s, \4 TFLOP\/s, memory \5/p' \
  "$folder/speed.jsonl" 2> /dev/null
exit $((failures > 0))
