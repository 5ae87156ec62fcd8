#!/bin/sh
# bench.sh: what the records of kbench decode, prefill, load and convert hold, and that speed with a wrong result is none.
. "$(dirname "$0")/lib.sh"
command -v jq > /dev/null && command -v python3 > /dev/null || { echo "skipped: no jq or no python3"; exit 77; }
# is NAME JQ-CONDITION: of the lines in $T/out, as an array
is() { if jq -s -e "$2" "$T/out" > /dev/null; then ok "$1"; else fail "$1" "$2: $(cut -c 1-500 "$T/out" | tail -n 2)"; fi; }
# rec NAME STATUS COMMAND...: the records are in $T/out
rec() { rec_name=$1 want=$2; shift 2; exits "$rec_name" "$want" kbench "$@" --json; cp "$T/.out" "$T/out"; }
kconvert testdata/tiny/kimi-linear-tiny -o "$T/m.kmf" || { fail setup "no model"; finish; }

used='.peak_rss > 1000000 and .bytes_read >= 0 and .minor_faults >= 0 and .major_faults >= 0 and .cache == "warm"'
facts='(.machine | length > 0) and .threads >= 1 and (.placement | length > 0) and (.commit | length > 0)'
for act in f32 bf16 int8; do
	rec "decode, $act" 0 decode -m "$T/m.kmf" --act $act --depth 0,70 -b 1,2 --tokens 4 --reps 2
	is "decode, $act: points" 'length == 6 and ([.[].digest // empty] | length == 5) and .[4].item == "reference" and .[4].ref_error <= .[4].tolerance'
	is "decode, $act: summary" ".[-1] | .waited >= 0 and .waited < 1 and .act == \"$act\" and .ref_error <= .tolerance and .level != null and $used and $facts"
done
cp "$T/out" "$T/first"
rec "decode again" 0 decode -m "$T/m.kmf" --act int8 --depth 0,70 -b 1,2 --tokens 4 --reps 1 -j 1
[ "$(jq -r '.digest // empty' "$T/out")" = "$(jq -r '.digest // empty' "$T/first")" ] && ok "the same digests with one thread" || fail "digests" "$(cat "$T/out")"
rec "prefill" 0 prefill -m "$T/m.kmf" --tokens 40 --reps 2 --bar 'ref_error<1e-4'
is "prefill: summary" '.[-1] | .what == "prefill" and .tok_s > 0 and .ref_error < 1e-4'
rec "one repetition" 0 decode -m "$T/m.kmf" --tokens 2 --reps 1 --plot "$T/one.svg"; is "one repetition has no spread" '.[-1].spread == null'
rec "the reference measures itself" 0 decode -m "$T/m.kmf" --cpu ref --tokens 2 --reps 1; is "ref is ref" '.[-1] | .level == "ref" and .ref_error == 0'
# Models of instructions compute a prompt as the reference does: tiles of BF16 and of INT4 weights among them.
kquant -q testdata/nano -o "$T/i4.kmf" || fail setup "no INT4 model"
tools=$PATH
models
kbench decode '--cpu=?' --json 2> /dev/null | jq -r 'select(.usable) | .level' > "$T/levels"
for level in avx512bf16sim amxsim; do
	grep -qx $level "$T/levels" || { skip "$level" "not in this build, or not on this CPU"; continue; }
	for act in bf16 int8; do
		rec "$level, $act" 0 prefill -m "$T/i4.kmf" --cpu $level --act $act --tokens 40 --reps 1
		is "$level, $act: logits" ".[-1] | .level == \"$level\" and .ref_error <= .tolerance"
	done
done
PATH=$tools
# Logits that are all alike are no result, though ref has the same: a model whose last norm is zero.
cp -r testdata/tiny/kimi-linear-tiny "$T/dead" && chmod -R u+w "$T/dead"
python3 - "$T"/dead/*.safetensors <<'PY'
import json, sys
for path in sys.argv[1:]:
    data = bytearray(open(path, 'rb').read())
    n = int.from_bytes(data[:8], 'little')
    for name, t in json.loads(data[8:8 + n]).items():
        if name.endswith('model.norm.weight'):
            a, b = (8 + n + x for x in t['data_offsets'])
            data[a:b] = bytes(b - a)
    open(path, 'wb').write(data)
PY
rec "nothing is computed" 1 decode -m "$T/dead" --tokens 2 --reps 1
grep -q 'nothing was computed' "$T/.err" && ok "nothing: the sentence" || fail "nothing" "$(cat "$T/.err")"
exits "a model from a pipe is not checked, and that is said" 0 sh -c "kbench decode --tokens 2 --reps 1 --json < '$T/m.kmf'"
grep -q 'is read once' "$T/.err" && ok "said" || fail "said" "$(cat "$T/.err")"
cp "$T/.out" "$T/out"; is "no error is made up" '.[-1].ref_error == null'

rec "load" 0 load -m "$T/m.kmf" --reps 2
is "load: records" '(.[0] | .item == "cold" and .cache == "cold") and (.[1] | .item == "warm" and .ms > 0) and (.[2] | .ms > 0 and (.ms_cold == null or .ms_cold > 0))'
is "load: summary" ".[-1] | $used and $facts"
is "load: a server, too" '.[1].exec_ms > 0 and .[2].exec_ms == .[1].exec_ms' 
rec "load a folder" 0 load -m testdata/tiny/kimi-linear-tiny --reps 1
rec "load nothing" 5 load -m "$T/none"

rec "convert" 0 convert -m "$T/m.kmf" --reps 2
is "convert: a line a tool and state" '[.[:4][].item] == ["kconvert cold", "kconvert warm", "kquant cold", "kquant warm"]'
is "convert: figures" "[.[] | select(.gbs != null)] | length >= 3 and all(.gbs > 0 and .read_gbs > 0 and .limit_frac > 0 and .peak_rss > 1000000 and .bytes_read >= 0)"
is "convert: summary" ".[-1] | .what == \"convert\" and .bytes == $(stat -c %s "$T/m.kmf") and $facts"
kconvert "$T/m.kmf" -o "$T/again.kmf" && kquant --preset small "$T/m.kmf" -o "$T/small.kmf"
is "convert: digests are those of the outputs" ".[0].digest == \"$(sha256sum < "$T/again.kmf" | cut -c 1-64)\" and .[2].digest == \"$(sha256sum < "$T/small.kmf" | cut -c 1-64)\""
rec "convert a folder, outputs elsewhere" 0 convert -m testdata/tiny/llama-tiny --reps 1 --spool "$T"
left=$(find "$T" testdata -name '.kbench*'); [ -z "$left" ] && ok "nothing is left behind" || fail "left behind" "$left"
# A kconvert that writes other bytes each time, beside a kbench that calls what lies beside it; one that fails.
mkdir "$T/bin" && cp "$BIN/kbench" "$BIN/kquant" "$T/bin"
printf '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\ndate +%%s%%N > "$2"\n' > "$T/bin/kconvert"; chmod +x "$T/bin/kconvert"
exits "other bytes each time" 1 "$T/bin/kbench" convert -m "$T/m.kmf" --reps 1 --json
grep -q 'other bytes' "$T/.err" && ok "other bytes: the sentence" || fail "other bytes" "$(cat "$T/.err")"
printf '#!/bin/sh\nexit 4\n' > "$T/bin/kconvert"
exits "a tool that fails" 4 "$T/bin/kbench" convert -m "$T/m.kmf" --reps 1
rec "convert nothing" 5 convert -m "$T/none"
finish
