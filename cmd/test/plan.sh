#!/bin/sh
# plan.sh: --plan forecasts, and what cannot fit is refused before the first byte, with and without it.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
# member FILE EXPRESSION: about the plan p
member() { python3 -c 'import json, os, sys; p = json.load(open(sys.argv[1])); assert eval(sys.argv[2]), p' "$1" "$2"; }
# peak COMMAND...: $rss is its largest resident set in bytes, 0 where it failed
peak() {
	rss=$(python3 -c 'import os, subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=2); _, s, use = os.wait4(p.pid, 0); print(0 if s else use.ru_maxrss << 10)' "$@" 2> "$T/.err")
	[ "$rss" -gt 0 ] || fail "peak of $*" "$(tail -n 1 "$T/.err")"
}
# hole FILE BYTES: a tensor of so many, nearly all of it a hole
hole() {
	python3 - "$1" "$2" <<'PY'
import json, struct, sys
n = int(sys.argv[2])
head = json.dumps({'x': {'dtype': 'BF16', 'shape': [n >> 13, 4096], 'data_offsets': [0, n]}}).encode()
with open(sys.argv[1], 'wb') as f:
	f.write(struct.pack('<Q', len(head)) + head)
	f.truncate(8 + len(head) + n)
PY
}
check "kconvert --plan" sh -c "kconvert --plan $nano -o '$T/out.kmf' > '$T/plan'"
check "nothing is written" test ! -e "$T/out.kmf"
kconvert $nano -o "$T/nano.kmf"
check "bytes are those of the file" member "$T/plan" "p['bytes'] == os.path.getsize('$T/nano.kmf') and p['fits'] and p['entries'] > 10"
check "memory, disk, time" member "$T/plan" "0 < p['peak_memory'] <= p['max_memory'] == 512 << 20 and p['disk_free'] > 0 and p['seconds'] >= 0 and p['bytes_in'] > 0"
# Of several files, too, which have no names then.
kconvert -q $nano --to gguf --shard-size 3MB -o "$T/m.gguf"
check "kconvert --plan of a split GGUF" sh -c "kconvert --plan --to gguf --shard-size 3MB $nano > '$T/plan'"
check "bytes are those of its files" member "$T/plan" "p['bytes'] == sum(os.path.getsize('$T/' + f) for f in os.listdir('$T') if f.startswith('m-0')) and len(os.listdir('$T')) > 4"
exits "without --plan it wants names" 2 kconvert --to gguf --shard-size 3MB $nano
kquant --plan --ledger "$T/ledger" "$T/nano.kmf" > "$T/plan"
check "kquant --plan, to a stream" member "$T/plan" "p['bytes'] < p['bytes_in'] and p['disk_free'] is None"
check "a plan writes no ledger" test ! -e "$T/ledger"
check "as a table" sh -c "kquant --plan --table '$T/nano.kmf' | grep -q 'seconds at that rate'"
for t in kconvert kquant; do
	exits "$t: too little memory" 6 $t --max-memory 8M $nano -o "$T/out.kmf"
	exits "$t --plan: too little memory" 6 $t --plan --max-memory 8M $nano
	cp "$T/.out" "$T/plan"
	check "$t: the plan is there all the same" member "$T/plan" "not p['fits']"
done
if ! hole "$T/huge.safetensors" $((8 << 40)) || [ "$(df -P -k "$T" | awk 'NR == 2 { print $4 }')" -gt $((8 << 30)) ]; then
	skip "too little disk" "the disk is too large, or its files are not sparse"
else
	exits "too little disk" 6 kconvert "$T/huge.safetensors" -o "$T/out.kmf"
	cp "$T/.err" "$T/why"
	check "the sentence says what is free" grep -q "bytes of disk are needed, .* are free" "$T/why"
	exits "--plan: too little disk" 6 kconvert --plan "$T/huge.safetensors" -o "$T/out.kmf"
	exits "--plan: a stream needs no disk" 0 kconvert --plan "$T/huge.safetensors"
fi
check "nothing is left" sh -c "! ls '$T'/out.kmf* 2>/dev/null"
# A limit on the size of files is an error like a full disk.
exits "a file that may not grow" 5 sh -c "ulimit -f 100; exec kconvert $nano -o '$T/out.kmf'"
check "nothing is left of it" sh -c "! ls '$T'/out.kmf* 2>/dev/null"
# Tables count: a hundred thousand tensors and no bytes to speak of. What is said is what it takes.
python3 - "$T/many.safetensors" <<'PY'
import json, struct, sys
n, head, at = 50000, {}, 0
for i in range(n):
    for part, cols in ("weight_packed", 16), ("weight_scale", 1):
        head["language_model.model.layers.%d.block_sparse_moe.experts.%d.w1.%s" % (i // 896, i % 896, part)] = {
            "dtype": "U8", "shape": [1, cols], "data_offsets": [at, at + cols]}
        at += cols
text = json.dumps(head).encode()
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + (b"\x11" * 16 + b"\x7f") * n)
PY
case ${B:-build} in *asan*|*tsan*|*oom*) skip "many tensors" "sanitizers have memory of their own" ;; *)
	exits "many tensors do not fit in little" 6 kconvert --plan --to safetensors --max-memory 56M "$T/many.safetensors"
	kconvert --plan --to safetensors "$T/many.safetensors" > "$T/plan" 2>&1
	check "many tensors: memory" member "$T/plan" "64 << 20 < p['peak_memory'] < 160 << 20"
	# What --verify takes counts, too: the tables of the output beside those of the source, and the rows that are compared.
	check "--plan --verify" sh -c "kconvert --plan --verify '$T/many.safetensors' -o '$T/out.kmf' > '$T/plan'"
	peak kconvert -q --verify "$T/many.safetensors" -o "$T/out.kmf"
	check "--verify takes what was said ($rss bytes)" member "$T/plan" "$rss < p['peak_memory'] < 200 << 20"
	exits "--verify counts" 6 kconvert --verify --max-memory "$rss" "$T/many.safetensors" -o "$T/out.kmf"
	hole "$T/wide.safetensors" $((160 << 20))
	peak kconvert -q -j 64 --max-memory 100M --verify "$T/wide.safetensors" -o "$T/out.kmf"
	check "--verify of many threads keeps to --max-memory ($rss bytes)" test "$rss" -le $((100 << 20))
	peak kls -j 64 --max-memory 100M --verify "$T/out.kmf"
	check "kls --verify, too ($rss bytes)" test "$rss" -le $((100 << 20)) ;;
esac
finish
