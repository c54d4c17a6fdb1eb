#!/bin/bash
# Makes a folder that runs on machines without Swift, oneDNN or libyaml: the program, the shared
# libraries it needs besides the C library's, and a start script.
#
#   scripts/bundle.sh FOLDER [PROGRAM]
set -euo pipefail
folder=${1:?a folder that is made} program=${2:-.build/release/accelerate-swift}
[[ -x $program ]] || { echo "$program is not there: run make build first" >&2; exit 1; }
mkdir -p "$folder/lib"
cp "$program" "$folder/lib/accelerate-swift"
strip "$folder/lib/accelerate-swift" 2> /dev/null || true
# The C and C++ libraries belong to the system.
ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
  grep -vE '/(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|ld-linux[^/]*)\.so' |
  while read -r library; do cp -L "$library" "$folder/lib/"; done
cat > "$folder/accelerate-swift" <<'END'
#!/bin/sh
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$here/lib/accelerate-swift" "$@"
END
chmod +x "$folder/accelerate-swift"
du -sh "$folder" | cut -f1
