#!/usr/bin/env bash
# Speed of tokenizing against Hugging Face's Rust tokenizers on the same file, in alternating runs.
#
#     pip install tokenizers==0.23.3
#     Benchmarks/tokenize.sh TEXT DIR...
#
# TEXT is a file of UTF-8 lines; each DIR has a tokenizer.json. Prints a JSON line for each run:
# program, directory, threads, seconds for the whole process with loading taken off, megabytes a second.
set -euo pipefail
text=$1
shift
program=${PROGRAM:-.build/release/accelerate-swift}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cat > "$work/theirs.py" <<'PY'
import json, sys, time
from tokenizers import Tokenizer
folder, source = sys.argv[1:]
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
texts = [json.loads(line) for line in open(source)]
start = time.time()
encoded = tokenizer.encode_batch_fast(texts)
seconds = time.time() - start
print(seconds, sum(len(e.ids) for e in encoded))
PY
python3 -c "
import json, sys
for line in open('$text', encoding='utf-8', errors='replace'):
    print(json.dumps(line.rstrip('\n')))" > "$work/lines.jsonl"
size=$(stat -c %s "$text")
now() { date +%s.%N; }
for folder in "$@"; do
  for threads in 1 2; do
    for run in 1 2 3; do
      start=$(now); echo '""' | $program tokenize --model "$folder" --threads "$threads" > /dev/null; loaded=$(now)
      $program tokenize --model "$folder" --threads "$threads" < "$work/lines.jsonl" > "$work/ours"; end=$(now)
      theirs=$(RAYON_NUM_THREADS=$threads TOKENIZERS_PARALLELISM=true python3 "$work/theirs.py" "$folder" "$work/lines.jsonl")
      python3 - "$folder" "$threads" "$size" "$start" "$loaded" "$end" $theirs "$work/ours" <<'PY'
import json, sys
folder, threads, size, start, loaded, end, seconds, count, ours = sys.argv[1:]
own = (float(end) - float(loaded)) - (float(loaded) - float(start))
tokens = sum(len(json.loads(line)) for line in open(ours))
for name, took, number in (("accelerate-swift", own, tokens), ("tokenizers", float(seconds), int(count))):
    print(json.dumps({"program": name, "folder": folder, "threads": int(threads), "seconds": round(took, 3), "tokens": number,
                      "megabytes_per_second": round(int(size) / took / 1e6, 2)}), flush=True)
PY
    done
  done
done
