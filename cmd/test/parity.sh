#!/bin/bash
# parity.sh: every tiny model against its golden set (logits, hidden states, KDA states, router choices, greedy tokens); the same bits
# from a container, a pipe and the folder, and whatever the threads and the batch.
. "$(dirname "$0")/lib.sh"
for golden in testdata/golden/*/; do
	name=$(basename "$golden") model=testdata/tiny/$(basename "$golden")
	[ -d "$model" ] && [ -f "$golden/golden.json" ] || continue
	kconvert "$model" -o "$T/m.kmf" || { fail "$name" "kconvert"; continue; }
	check "$name: parity" keval parity -m "$T/m.kmf" -f "$golden"
	keval dump -m "$T/m.kmf" -f "$golden/golden.json" -j 1 -b 1 -o "$T/1.st" || fail "$name" "keval dump"
	for way in "-j 2 -b 5" "-j 7 -b 1" "-j 7 -b 5"; do
		keval dump -m "$T/m.kmf" -f "$golden/golden.json" $way -o "$T/2.st" 2> "$T/.err" && same "$name: $way" "$T/1.st" "$T/2.st"
	done
	keval dump -m "$model" -f "$golden/golden.json" -o "$T/2.st" && same "$name: from the folder" "$T/1.st" "$T/2.st"
	kconvert "$model" | keval dump -m - -f "$golden/golden.json" -o "$T/2.st" && same "$name: from a pipe" "$T/1.st" "$T/2.st"
done
# K3: as its released code computes it, where all is compared; zeros behind A_log's heads must be there; the text model alone is the same model.
k3=testdata/tiny/k3-tiny golden=testdata/golden/k3-tiny
check "k3-tiny: as the released code" keval parity -m $k3 -f $golden --profile hf_remote
check "k3-tiny: and by the reference's kernels" keval parity -m $k3 -f $golden --profile hf_remote --cpu ref
kconvert --text-only $k3 --to hf -o "$T/text" && jq -e '.model_type == "kimi_k3" and .eos_token_id == 2' "$T/text/config.json" > /dev/null &&
	check "k3-tiny: the text model alone" keval parity -m "$T/text" -f $golden || fail "k3-tiny: the text model alone" "$(cat "$T/text/config.json")"
cat > "$T/tail.py" <<'PY'
# tail.py FILE: one float behind A_log's heads, of layer 0, becomes 1
import json, struct, sys
d = bytearray(open(sys.argv[1], 'rb').read())
n, = struct.unpack_from('<Q', d)
at = json.loads(d[8:8 + n])['language_model.model.layers.0.self_attn.A_log']['data_offsets'][1]
d[8 + n + at - 4:8 + n + at] = struct.pack('<f', 1)
open(sys.argv[1], 'wb').write(d)
PY
cp -rL $k3 "$T/tail" && chmod -R u+w "$T/tail"
for f in "$T"/tail/*.safetensors; do grep -q 'layers\.0\.self_attn\.A_log' "$f" && python3 "$T/tail.py" "$f"; done
exits "k3-tiny: what is behind A_log's heads" 3 keval parity -m "$T/tail" -f $golden
grep -q 'A_log: value 15 is 1, wanted 0 behind 3 values' "$T/.err" && ok "and it is said" || fail "and it is said" "$(cat "$T/.err")"
check "k3-tiny: a GGUF of it" kconvert $k3 --to gguf -o "$T/k3.gguf"
check "k3-tiny: from a GGUF" keval parity -m "$T/k3.gguf" -f $golden --profile hf_remote
kconvert -q $k3 | kconvert -q - --to gguf > "$T/piped.gguf"; same "k3-tiny: a GGUF from a pipe" "$T/k3.gguf" "$T/piped.gguf"
exits "k3-tiny: nor is there a GGUF of it" 3 kconvert "$T/tail" --to gguf -o "$T/x.gguf"
# A tolerance of 0 is one, and the set's own wins; a set with nothing to compare is refused, and what was not compared is null.
cat > "$T/set.py" <<'PY'
# set.py OUT MEMBER JSON|- KEEP: llama-tiny's golden set with a member of golden.json changed (-: removed), and the tensors that begin with KEEP
import json, os, struct, sys
out, member, value, keep = sys.argv[1:5]
golden = 'testdata/golden/llama-tiny/golden.'
os.makedirs(out, exist_ok=True)
j = json.load(open(golden + 'json'))
j.pop(member, None)
if value != '-': j[member] = json.loads(value)
json.dump(j, open(out + '/golden.json', 'w'))
d = open(golden + 'safetensors', 'rb').read()
n, = struct.unpack_from('<Q', d)
head = json.dumps({k: v for k, v in json.loads(d[8:8 + n]).items() if k.startswith(keep)}).encode()
head += b' ' * (-len(head) % 8)
open(out + '/golden.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + d[8 + n:])
PY
llama=testdata/tiny/llama-tiny
set_of() { rm -rf "$T/set"; python3 "$T/set.py" "$T/set" "$@" || fail setup "no set $*"; }
says() { grep -q "$2" "$T/.err" && ok "$1" || fail "$1" "$(tail -n 1 "$T/.err")"; }
set_of tolerance 0 ""
exits "a tolerance of 0" 1 keval parity -m $llama -f "$T/set"; says "and it is said" 'the tolerance is 0$'
exits "wins over --tol" 1 keval parity -m $llama -f "$T/set" --tol 1
set_of tolerance 1 ""
exits "a wide one wins over --tol 0" 0 keval parity -m $llama -f "$T/set" --tol 0
exits "--tol 0" 1 keval parity -m $llama -f testdata/golden/llama-tiny --tol 0; says "is 0" 'the tolerance is 0$'
for tol in -1 nan; do exits "--tol $tol" 2 keval parity -m $llama -f testdata/golden/llama-tiny --tol $tol; done
set_of sequences - ""
exits "no sequences" 3 keval parity -m $llama -f "$T/set"; says "no sequences, and it is said" 'has no sequences$'
set_of sequences '{}' ""
exits "an empty list of sequences" 3 keval parity -m $llama -f "$T/set"
set_of tolerance - none
exits "no tensors" 3 keval parity -m $llama -f "$T/set"; says "no tensors, and it is said" 'golden.safetensors has no logits/ of its sequences$'
set_of tolerance - hidden
exits "hidden rows alone" 0 keval parity -m $llama -f "$T/set" --json
tail -n 1 "$T/.out" | jq -e '.max_abs == null and .max_rel == null and .tensors > 0 and .greedy_match' > /dev/null && ok "no figure of logits" || fail "no figure of logits" "$(tail -n 1 "$T/.out")"
# A wrong weight is not within the tolerance.
kquant -t i4g32 testdata/tiny/kimi-k2-tiny -o "$T/q.kmf" 2> "$T/.err"
exits "INT4 where BF16 is wanted" 1 keval parity -m "$T/q.kmf" -f testdata/golden/kimi-k2-tiny
for none in '{}' '[]' '{"sequences": {}}'; do
	echo "$none" > "$T/none.json"; exits "dump of $none" 3 keval dump -m testdata/tiny/llama-tiny -f "$T/none.json" -o "$T/none.st"
	grep -q "none.json' has nothing to run" "$T/.err" && [ ! -e "$T/none.st" ] && ok "and said" || fail "and said" "$(cat "$T/.err")"
done
finish
