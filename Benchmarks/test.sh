#!/usr/bin/env bash
# Tries gpu.sh at tiny sizes, on the CPU and on an emulated GPU, where NVRTC is there.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-benchmarks.XXXXXX")
trap 'rm -rf "$folder"' EXIT
SMALL=1 DEVICE=cpu Benchmarks/gpu.sh "$folder/cpu"
if [[ ! -e .build/nvrtc/libnvrtc.so.13 ]]; then
  echo "SKIPPED: the emulated GPU needs NVRTC (scripts/fetch-nvrtc.sh)" >&2
  exit 0
fi
scripts/emulated-gpu.sh "$folder/gpu"
source "$folder/gpu/environment"
SMALL=1 DEVICE=cuda Benchmarks/gpu.sh "$folder/cuda"
# Memory beside its plan, as it is to be read on a GPU.
if ! grep -q '"memory": "[0-9.]* MB, planned' "$folder/cuda/speed.jsonl"; then
  echo "Benchmarks/test.sh: the memory of the GPU is missing from the results:" >&2
  cat "$folder/cuda/speed.jsonl" >&2
  exit 1
fi
