#!/usr/bin/env bash
# Brings NVIDIA's NCCL into .build/nccl, so that tests open it and look for every function that is
# used. It needs no GPU; without it those tests are skipped. 200 MB; a second run does nothing.
set -euo pipefail

version=2.28.9
folder="$(cd "$(dirname "$0")/.." && pwd)/.build/nccl"
[[ -e $folder/libnccl.so.2 ]] && exit 0

skip() {
  printf 'note: %s; NCCL is not opened in the tests\n' "$1" >&2
  exit 0
}

command -v python3 >/dev/null || skip "python3 is not installed, which downloads NCCL"
python3 -m pip --version >/dev/null 2>&1 || skip "pip is not installed, which downloads NCCL"
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
timeout 120 python3 -m pip download --quiet --disable-pip-version-check --no-deps \
  --only-binary :all: --dest "$download" "nvidia-nccl-cu13==$version" ||
  skip "nvidia-nccl-cu13 $version cannot be downloaded"
python3 -m zipfile -e "$download"/*.whl "$download"
mkdir -p "$folder.new"
mv "$download"/nvidia/nccl/lib/libnccl.so.2 "$folder.new"
rm -rf "$folder"
mv "$folder.new" "$folder"
