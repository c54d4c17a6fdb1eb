#!/bin/bash
# Compiles the shim in Sources/COneDNN against oneDNN 3.x and runs products through it. The builds
# otherwise use the system's library, which may be 2.x. The library comes as wheels of the Python
# package index and lies in a temporary folder; nothing is installed.
#
#   scripts/check-onednn3.sh
#
# Ends with 0 when all is well or the wheels cannot be had (it says so), else with 1.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fetch() {
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" "$@" \
    >"$folder/pip.log" 2>&1
}
# The 3.2 build on the GNU OpenMP runtime runs anywhere; of the newest only the headers are used,
# since its library wants a whole SYCL runtime.
if ! fetch onednn-cpu-gomp onednn-devel-cpu-gomp onednn-devel; then
  echo "SKIPPED: pip could not download oneDNN: $(tail -n 1 "$folder/pip.log")"
  exit 0
fi
for wheel in "$folder"/*.whl; do python3 -m zipfile -e "$wheel" "${wheel%.whl}"; done

compile() { cc -std=c11 -O2 -Wall -Wextra -Werror -ISources/COneDNN/include "$@"; }
for header in $(find "$folder" -path '*/oneapi/dnnl/dnnl.h'); do
  include=$(dirname "$(dirname "$(dirname "$header")")")
  version=$(awk '/define DNNL_VERSION_M(AJOR|INOR)/ {print $3}' "$include/oneapi/dnnl/dnnl_version.h" \
    | paste -sd.)
  compile -I"$include" -c Sources/COneDNN/shim.c -o "$folder/shim-$version.o"
  echo "ok   compiles against the headers of oneDNN $version"
done

library=$(find "$folder" -name 'libdnnl.so.3' -path '*gomp*' | head -n 1)
include=$(dirname "$(find "$folder" -path '*devel_cpu_gomp*/dnnl.hpp' | head -n 1)")
include=${include%/oneapi/dnnl}
compile -I"$include" Sources/COneDNN/shim.c scripts/check-onednn3.c "$library" \
  -Wl,-rpath,"$(dirname "$library")" -ldl -lm -o "$folder/check"
OMP_NUM_THREADS=4 "$folder/check"
ONEDNN_MAX_CPU_ISA=AVX2 "$folder/check"
