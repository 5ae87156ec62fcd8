#!/bin/bash
# pack.sh: models made small for transport: packed containers and deltas, by every route, are the model that went in; what is damaged
# or does not fit together is refused; and the sizes are what they should be.
. "$(dirname "$0")/lib.sh"
set -o pipefail
nano=testdata/nano
size() { wc -c < "$1"; }
# saves NAME PERCENT PLAIN PACKED: at least that much smaller
saves() {
	if [ $(($(size "$4") * 100)) -le $(($(size "$3") * (100 - $2))) ]; then ok "$1"; else fail "$1" "$(size "$4") of $(size "$3") bytes"; fi
}
kconvert $nano -o "$T/nano.kmf" && kconvert --pack $nano -o "$T/p.kmf" || { fail setup "nano is not packed"; finish; }
saves "bf16 saves a quarter" 25 "$T/nano.kmf" "$T/p.kmf"
kconvert "$T/p.kmf" | cmp -s - "$T/nano.kmf" && ok "unpacked" || fail "unpacked" "other bytes"
kconvert --pack "$T/nano.kmf" | kconvert - | cmp -s - "$T/nano.kmf" && ok "through pipes" || fail "through pipes" "other bytes"
kconvert -j 1 --pack < "$T/nano.kmf" | cmp -s - "$T/p.kmf" && ok "one thread, standard output" || fail "one thread, standard output" "other bytes"
kconvert --pack "$T/p.kmf" | cmp -s - "$T/p.kmf" && ok "packed again" || fail "packed again" "other bytes"
exits "kls --verify" 0 kls --verify "$T/p.kmf"
exits "kls --verify from a pipe" 0 sh -c "kls --verify - < '$T/p.kmf'"
kls --json "$T/nano.kmf" > "$T/1" && kls --json "$T/p.kmf" > "$T/2" && same "what is in it" "$T/1" "$T/2"
head -c 2000 $nano/eval/prose.txt > "$T/text"
keval ppl -f "$T/text" "$T/nano.kmf" > "$T/1" && keval ppl -f "$T/text" "$T/p.kmf" > "$T/2" && same "keval ppl" "$T/1" "$T/2"
kconvert --to hf "$T/nano.kmf" -o "$T/hf1" && kconvert --to hf "$T/p.kmf" -o "$T/hf2" && check "to hf" diff -r "$T/hf1" "$T/hf2"
kquant "$T/nano.kmf" -o "$T/q1.kmf" && kquant - < "$T/p.kmf" > "$T/q2.kmf" && same "kquant" "$T/q1.kmf" "$T/q2.kmf"
kconvert --pack "$T/q1.kmf" -o "$T/qp.kmf" && kconvert "$T/qp.kmf" | cmp -s - "$T/q1.kmf" && ok "int4" || fail "int4" "other bytes"
saves "int4 saves" 25 "$T/q1.kmf" "$T/qp.kmf"
kconvert --dtype f32 $nano -o "$T/f32.kmf" 2> /dev/null
kconvert --dtype f32 --pack $nano 2> /dev/null | kconvert - | cmp -s - "$T/f32.kmf" && ok "packed while converting" || fail "packed while converting" "other bytes"
for model in testdata/tiny/*/; do
	[ -f "$model/config.json" ] || model=$(ls "$model"*.gguf | head -n 1)
	kconvert "$model" > "$T/a.kmf" && kconvert --pack "$model" -o "$T/b.kmf" && kconvert "$T/b.kmf" | cmp -s - "$T/a.kmf" && ok "$model" || fail "$model" "other bytes"
	if command -v python3 > /dev/null; then
		python3 scripts/kmf.py --digest "$T/a.kmf" > "$T/1" && python3 scripts/kmf.py --digest - < "$T/b.kmf" > "$T/2" && same "$model: kmf.py" "$T/1" "$T/2"
	fi
done
# An expert is another one, and two of them are one.
if command -v python3 > /dev/null; then
	python3 - $nano "$T/new" "$T/twin" <<'PY'
import glob, json, os, shutil, struct, sys
def edit(to, change):
    shutil.copytree(sys.argv[1], to)
    for p in sorted(glob.glob(to + '/*.safetensors')):
        d = bytearray(open(p, 'rb').read())
        n, = struct.unpack('<Q', d[:8])
        at = {k: [8 + n + x for x in v['data_offsets']] for k, v in json.loads(d[8:8 + n]).items() if k != '__metadata__'}
        if change(d, at):
            os.unlink(p)
            open(p, 'wb').write(d)
            return
def flip(d, at):
    for k in sorted(at):
        if '.experts.1.w1.' in k:
            d[at[k][0]] ^= 1
            return True
def copy(d, at):
    for k in sorted(at):
        other = k.replace('.experts.1.', '.experts.2.')
        if '.experts.1.w1.' in k and other in at:
            d[at[other][0]:at[other][1]] = d[at[k][0]:at[k][1]]
            return True
edit(sys.argv[2], flip)
edit(sys.argv[3], copy)
PY
	kconvert "$T/new" -o "$T/new.kmf" && kconvert "$T/new" --since "$T/nano.kmf" -o "$T/d.kmf"
	check "a delta is verified with its base" kconvert "$T/new.kmf" --since "$T/nano.kmf" --verify -o "$T/v.kmf" && same "and is the same" "$T/v.kmf" "$T/d.kmf"
	check "so is what it gives" kconvert --verify "$T/nano.kmf" "$T/d.kmf" -o "$T/v.kmf"
	check "and a packed container" kconvert --verify --pack "$T/new" -o "$T/v.kmf"
	kconvert "$T/nano.kmf" "$T/d.kmf" -o "$T/full.kmf" && same "base and delta" "$T/full.kmf" "$T/new.kmf"
	kconvert "$T/p.kmf" - < "$T/d.kmf" | cmp -s - "$T/new.kmf" && ok "a packed base, a delta from a pipe" || fail "a packed base" "other bytes"
	kconvert "$T/new.kmf" --since "$T/p.kmf" | cmp -s - "$T/d.kmf" && ok "a delta from a packed base" || fail "a delta from a packed base" "other bytes"
	kconvert --to hf "$T/nano.kmf" "$T/d.kmf" -o "$T/hf3" && kconvert --to hf "$T/new.kmf" -o "$T/hf4" && check "a delta to hf" diff -r "$T/hf3" "$T/hf4"
	kconvert "$T/nano.kmf" --since "$T/nano.kmf" -o "$T/none.kmf"
	# The expert has 32 KB; the rest is what the delta of nothing has: head, index and digests.
	if [ $(($(size "$T/d.kmf") - $(size "$T/none.kmf"))) -le 32768 ] && [ "$(size "$T/none.kmf")" -le 80000 ]; then ok "a delta costs its expert"
	else fail "a delta costs its expert" "$(size "$T/d.kmf") bytes, of nothing $(size "$T/none.kmf")"; fi
	exits "another base" 3 kconvert "$T/new.kmf" "$T/d.kmf" -o "$T/x.kmf"
	grep -q "identity" "$T/.err" && ok "both identities" || fail "both identities" "$(cat "$T/.err")"
	exits "no base" 2 kconvert "$T/d.kmf" -o "$T/x.kmf"
	kconvert --pack "$T/twin" -o "$T/t.kmf" && kconvert "$T/t.kmf" | kls --verify - > /dev/null && ok "equal experts once" || fail "equal experts once" "$?"
	if [ "$(size "$T/t.kmf")" -lt $(($(size "$T/p.kmf") - 15000)) ]; then ok "and not twice"; else fail "and not twice" "$(size "$T/t.kmf") bytes"; fi
	exits "which a pipe cannot find" 2 sh -c "cat '$T/t.kmf' | kconvert -"
else
	skip deltas "no python3"
fi
# What cannot work.
exits "two models" 2 kconvert "$T/nano.kmf" "$T/p.kmf" -o "$T/x.kmf"
exits "packed hf" 2 kconvert --pack --to hf $nano -o "$T/x"
exits "packed and resumed" 2 kconvert --pack --resume $nano -o "$T/x.kmf"
exits "a delta in parts" 2 kconvert --since "$T/nano.kmf" --part 1/2 $nano -o "$T/x.kmf"
exits "a folder as base" 2 kconvert --since $nano "$T/nano.kmf" -o "$T/x.kmf"
bytes=$(size "$T/p.kmf")
for at in 10 5000 $((bytes / 2)) $((bytes - 1)); do
	head -c $at "$T/p.kmf" | kconvert - -o "$T/x.kmf" 2> "$T/.err"
	if [ $? -eq 3 ] && [ ! -e "$T/x.kmf" ]; then ok "a pipe cut at $at"; else fail "a pipe cut at $at" "$(cat "$T/.err")"; fi
done
for at in 100 $((bytes / 3)) $((bytes / 2)) $((bytes - 60000)) $((bytes - 20)); do
	cp "$T/p.kmf" "$T/bad.kmf"
	printf '\252\125\252' | dd of="$T/bad.kmf" bs=1 seek=$at conv=notrunc 2> /dev/null
	exits "damage at $at" 3 kls --verify "$T/bad.kmf"
	exits "damage at $at, from a pipe" 3 sh -c "kls --verify - < '$T/bad.kmf'"
done
finish
