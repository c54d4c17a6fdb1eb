#!/usr/bin/env bash
# Fuzzes the readers of tokenizers, data files and chat templates with libFuzzer and AddressSanitizer.
#
#   Fuzz/fuzz.sh EXECUTIONS      in all, on all cores; first a planted bug must be found
set -euo pipefail
cd "$(dirname "$0")"
total=${1:-20000}
export SWIFT_BACKTRACE=enable=no
# The order of the sanitizers matters: the other way round there is no coverage.
swift build -c debug --sanitize=address --sanitize=fuzzer -Xswiftc -parse-as-library >/dev/null
program=$PWD/.build/debug/Fuzz
work=$(mktemp -d "${TMPDIR:-/tmp}/accelerate-fuzz.XXXXXX")
trap 'rm -rf "$work" /dev/shm/accelerate-fuzz-*' EXIT
options=(-max_len=4096 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 -verbosity=0)

# MARK: What the fuzzer starts from

mkdir "$work/seeds"
seed() { printf '%s' "$2" >"$work/seeds/$1"; }
# The first character chooses the reader: code modulo 6.
seed json "$(printf '\x30')"'{"version":"1.0","added_tokens":[{"id":2,"content":"<s>","special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\p{L}+|\\s+(?!\\S)"},"behavior":"Isolated","invert":false},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"aa":1,"<s>":2},"merges":["a a"]}}'
printf '\x31\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02\x0a\x0c\x0a\x03\xe2\x96\x81\x15\x00\x00\x80\xbf' >"$work/seeds/model"
seed jsonl 2'{"input": "a", "output": "b"}
{"messages": [{"role": "user", "content": "x"}]}'
seed csv 3'input,output
"a ""b""",c'
seed template 4'{% for m in messages %}{{ m.role | upper ~ ": " ~ m["content"][:1] }}{% if not loop.last %}, {% endif %}{% endfor %}'
seed array 5'[{"text": "a"}, {"text": "b\u00e9"}]'

# MARK: The planted bug

mkdir "$work/planted"
if FUZZ_PLANT=1 "$program" "${options[@]}" -runs=200000 -seed=1 -artifact_prefix="$work/planted/" \
  "$work/planted" "$work/seeds" >"$work/planted.log" 2>&1; then
  echo "fuzz.sh: the planted bug was not found; the fuzzer does not work" >&2
  tail -20 "$work/planted.log" >&2
  exit 1
fi
grep -q 'the planted bug' "$work/planted.log" || {
  echo "fuzz.sh: something else than the planted bug was found:" >&2
  tail -40 "$work/planted.log" >&2
  exit 1
}
echo "the planted bug was found"

# MARK: The readers

mkdir "$work/corpus"
jobs=() cores=$(nproc)
for ((core = 0; core < cores; core++)); do
  "$program" "${options[@]}" -runs=$((total / cores)) -seed=$((core + 1)) \
    -artifact_prefix="$work/found-$core-" "$work/corpus" "$work/seeds" >"$work/log-$core" 2>&1 &
  jobs+=($!)
done
code=0
for ((core = 0; core < cores; core++)); do
  wait "${jobs[core]}" || {
    code=1
    tail -60 "$work/log-$core" >&2
    # What was found, to repeat it: FILE as the program's argument.
    for file in "$work"/found-"$core"-*; do [[ -e $file ]] && cp "$file" . && echo "kept ${file##*/}" >&2; done
  }
done
grep -h 'number_of_executed_units' "$work"/log-* | awk '{ n += $2 } END { print n " executions" }'
((code == 0)) && echo "OK: nothing was found"
exit "$code"
