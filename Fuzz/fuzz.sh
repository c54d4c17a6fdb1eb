#!/usr/bin/env bash
# Fuzzes the readers of tokenizers, data files and chat templates with libFuzzer and AddressSanitizer.
#
#   Fuzz/fuzz.sh EXECUTIONS [FOLDER]   in all; first a planted bug must be found. Logs and what the
#                                      fuzzer learned stay in FOLDER, and the next run goes on from there.
#   CORES=1 Fuzz/fuzz.sh ...           so many readers at once in place of one for each core
set -euo pipefail
cd "$(dirname "$0")"
total=${1:-20000}
readers=(tokenizer.json tokenizer.model vocab.json pattern jsonl csv array gzip template)
# Percent of the executions, so that all take about the same time.
declare -A share=([tokenizer.json]=4 [tokenizer.model]=9 [vocab.json]=5 [pattern]=2 [jsonl]=18
  [csv]=16 [array]=16 [gzip]=16 [template]=14)

export SWIFT_BACKTRACE=enable=no FUZZ_FIXTURES=$PWD/../Tests/Fixtures
# Leaks are not looked for one by one, because Swift's tagged pointers hide what is in use; what
# grows without bound is stopped at the limit of memory.
export ASAN_OPTIONS=quarantine_size_mb=64:malloc_context_size=2:detect_leaks=0
# The compiler obeys the last -sanitize alone, and the package manager writes its own two in any
# order: both are named again. Optimized code keeps the checks of arithmetic and of indices.
SWIFT_DETERMINISTIC_HASHING=1 swift build -c release --sanitize=address --sanitize=fuzzer \
  -Xswiftc -parse-as-library -Xswiftc -sanitize=address,fuzzer >/dev/null
program=$PWD/.build/release/Fuzz

scratch=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-fuzz.XXXXXX")
trap 'rm -rf "$scratch" /dev/shm/accelerate-fuzz-*' EXIT
work=${2:-$scratch}
mkdir -p "$work"
work=$(cd "$work" && pwd)
options=(-max_len=4096 -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 -detect_leaks=0)

# MARK: The planted bug

mkdir "$scratch/planted"
if FUZZ_PLANT=1 FUZZ_READER=jsonl "$program" "${options[@]}" -runs=1000000 -seed=1 \
  -max_len=64 -artifact_prefix="$scratch/planted/" "$scratch/planted" >"$scratch/planted.log" 2>&1; then
  echo "fuzz.sh: the planted bug was not found; the fuzzer does not work" >&2
  tail -20 "$scratch/planted.log" >&2
  exit 1
fi
if ! grep -q 'heap-buffer-overflow' "$scratch/planted.log" || ! grep -q runIntoBug "$scratch/planted.log"; then
  echo "fuzz.sh: something else than the planted bug was found:" >&2
  tail -60 "$scratch/planted.log" >&2
  exit 1
fi
echo "the planted bug was found"

# MARK: The readers

dictionary() {
  case $1 in
    jsonl | csv | array | gzip) echo rows ;;
    template | pattern) echo "$1" ;;
    *) echo tokenizer.json ;;
  esac
}

fuzz() {
  local reader=$1 seeds=$scratch/seeds-$1
  mkdir -p "$seeds" "$work/corpus-$reader"
  FUZZ_READER=$reader FUZZ_SEEDS=$seeds "$program" "${options[@]}" -runs=$(((total * ${share[$reader]} + 99) / 100)) -seed=1 \
    -dict="Dictionaries/$(dictionary "$reader").dict" -print_final_stats=1 \
    -artifact_prefix="$work/found-$reader-" "$work/corpus-$reader" "$seeds" \
    >"$work/log-$reader" 2>&1 || echo "$reader" >>"$scratch/failed"
}

running=0
for reader in "${readers[@]}"; do
  if ((running == ${CORES:-$(nproc)})); then
    wait -n
    running=$((running - 1))
  fi
  fuzz "$reader" &
  running=$((running + 1))
done
wait

# MARK: What became of it

{
  echo "reader executions per_second slowest_s peak_MB edges features"
  for reader in "${readers[@]}"; do
    awk -v reader="$reader" '
      /^stat::/ { value[$1] = $2 }
      / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:" || $i == "ft:") value[$i] = $(i + 1) }
      END {
        print reader, value["stat::number_of_executed_units:"] + 0,
          value["stat::average_exec_per_sec:"] + 0, value["stat::slowest_unit_time_sec:"] + 0,
          value["stat::peak_rss_mb:"] + 0, value["cov:"] + 0, value["ft:"] + 0
      }' "$work/log-$reader"
  done
} >"$work/table"
awk '{ printf "%-16s %12s %10s %9s %7s %7s %8s\n", $1, $2, $3, $4, $5, $6, $7 }' "$work/table"
awk 'NR > 1 { n += $2 } END { print n " executions in all" }' "$work/table"

if [[ -e $scratch/failed ]]; then
  while read -r reader; do
    echo "== $reader" >&2
    grep -v -E '^#[0-9]+|^INFO' "$work/log-$reader" | head -80 >&2
    # What was found, to repeat it: FUZZ_READER=... .build/release/Fuzz FILE
    for file in "$work/found-$reader"-*; do
      [[ -e $file ]] && cp -n "$file" . && echo "kept Fuzz/${file##*/}" >&2
    done
  done <"$scratch/failed"
  exit 1
fi
echo "OK: nothing was found"
