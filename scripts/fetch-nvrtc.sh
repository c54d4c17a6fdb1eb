#!/usr/bin/env bash
# Brings NVIDIA's compiler library into .build/nvrtc, so that tests compile the CUDA kernels for real
# GPUs. It needs no GPU; without it those tests are skipped. A second run does nothing.
set -euo pipefail

version=13.0.88
folder="$(cd "$(dirname "$0")/.." && pwd)/.build/nvrtc"
[[ -e $folder/libnvrtc.so.13 ]] && exit 0

skip() {
  printf 'note: %s; the CUDA kernels are not compiled for GPUs in the tests\n' "$1" >&2
  exit 0
}

command -v python3 >/dev/null || skip "python3 is not installed, which downloads NVRTC"
python3 -m pip --version >/dev/null 2>&1 || skip "pip is not installed, which downloads NVRTC"
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
timeout 300 python3 -m pip download --quiet --disable-pip-version-check --no-deps \
  --only-binary :all: --dest "$download" "nvidia-cuda-nvrtc==$version" ||
  skip "nvidia-cuda-nvrtc $version cannot be downloaded"
python3 -m zipfile -e "$download"/*.whl "$download"
mkdir -p "$folder.new"
mv "$download"/nvidia/cu13/lib/libnvrtc.so.13 \
  "$download"/nvidia/cu13/lib/libnvrtc-builtins.so.13.0 "$folder.new"
rm -rf "$folder"
mv "$folder.new" "$folder"
