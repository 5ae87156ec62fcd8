#!/bin/bash
# convert.sh: every route to a container gives the same bytes, the way back gives the tensors that came in, and what goes wrong leaves
# nothing behind.
. "$(dirname "$0")/lib.sh"
set -o pipefail
nano=testdata/nano
kconvert $nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
kconvert $nano > "$T/2.kmf" && same "to standard output" "$T/nano.kmf" "$T/2.kmf"
kconvert -j 1 $nano | kconvert - > "$T/2.kmf" && same "through itself, one thread" "$T/nano.kmf" "$T/2.kmf"
tar -C $nano -cf - . | kconvert - > "$T/2.kmf" && same "tar of the files" "$T/nano.kmf" "$T/2.kmf"
tar -cf - $nano | kconvert - > "$T/2.kmf" && same "tar of the folder" "$T/nano.kmf" "$T/2.kmf"
tar -C testdata -czf "$T/nano.tgz" nano && kconvert "$T/nano.tgz" > "$T/2.kmf" && same "tar.gz file" "$T/nano.kmf" "$T/2.kmf"
tar -C testdata -cf "$T/nano.tar" nano && kconvert "$T/nano.tar" > "$T/2.kmf" && same "tar file" "$T/nano.kmf" "$T/2.kmf"
if command -v zstd > /dev/null; then
	zstd -q -c "$T/nano.tar" | kconvert - > "$T/2.kmf" && same "tar.zst pipe" "$T/nano.kmf" "$T/2.kmf"
else
	skip "tar.zst" "no zstd"
fi
# Back to a folder, and again.
cat > "$T/equal.py" <<'PY'
import json, sys
from hf_read import tensors
a, b = map(tensors, sys.argv[1:3])
assert set(a) == set(b), sorted(set(a) ^ set(b))[:4]
for k in a:
    assert a[k] == b[k], k
assert json.load(open(sys.argv[1] + '/config.json')) == json.load(open(sys.argv[2] + '/config.json'))
PY
for model in $nano testdata/tiny/*/; do
	name=$(basename "$model")
	[ -f "$model/config.json" ] || continue
	rm -rf "$T/hf"
	kconvert "$model" > "$T/a.kmf" && kconvert "$T/a.kmf" --to hf --shard-size 300kB -o "$T/hf" || { fail "$name" "to hf"; continue; }
	check "$name: the folder that comes back" python3 "$T/equal.py" "$model" "$T/hf"
	kconvert "$T/hf" -o "$T/b.kmf" && same "$name: and in again" "$T/a.kmf" "$T/b.kmf"
done
# Tensors without a config: a folder of one file.
two=testdata/bad/safetensors/ok_two.safetensors
check "a folder of one file" kconvert $two --to hf -o "$T/one"
kconvert $two --to safetensors -o "$T/two.safetensors" && same "a folder of one file: it is there" "$T/two.safetensors" "$T/one/model.safetensors"
check "a folder of one file, with a journal" kconvert $two --to hf --resume -o "$T/one2"
same "a folder of one file, with a journal: it is there" "$T/two.safetensors" "$T/one2/model.safetensors"
check "a folder of one file is read" kls --verify "$T/one/model.safetensors"
kconvert --to safetensors "$T/nano.kmf" > "$T/nano.safetensors" && check "one safetensors file" kls --verify "$T/nano.safetensors"
kconvert --dtype f32 $nano | kls --verify - > "$T/.out" && ok "to f32 and verified in a pipe" || fail "f32" "$?"
kconvert --dequant testdata/tiny/kimi-linear-tiny-int4 -o "$T/bf16.kmf" && kls "$T/bf16.kmf" --json | grep -q i4g32 && fail "--dequant" "i4g32 is still there" || ok "--dequant"
for f in testdata/tiny/llama-tiny-gguf/*.gguf; do
	check "$(basename "$f") into a container" sh -c "kconvert '$f' | kls --verify -"
done
# Parts of a copy are parts of the same input; a checkpoint of the same names, shapes and sizes is another one where its values differ.
cp -r $nano "$T/copy"
for k in 1/2 2/2; do [ $k = 1/2 ] && from=$nano || from=$T/copy; kconvert -q "$from" --part $k -o "$T/parts.kmf"; done
check "parts of an input and of its copy" kconvert -q --seal "$T/parts.kmf"
same "parts of an input and of its copy" "$T/parts.kmf" "$T/nano.kmf"
check "another checkpoint" python3 cmd/test/plant.py $nano "$T/other" layers 1 2
for k in 1/2 2/2; do [ $k = 1/2 ] && from=$nano || from=$T/other; kconvert -q "$from" --part $k -o "$T/mixed.kmf"; done
exits "parts of two checkpoints" 3 kconvert --seal "$T/mixed.kmf"
grep -q 'part 2 was made from another input' "$T/.err" && ok "which part" || fail "which part" "$(cat "$T/.err")"
# What cannot work.
exits "no input" 5 kconvert /nonexistent/model -o "$T/x.kmf"
exits "unknown format" 2 kconvert --to npz $nano -o "$T/x.kmf"
exits "hf to standard output" 2 kconvert --to hf $nano
exits "shards of a container" 2 kconvert --shard-size 1M $nano -o "$T/x.kmf"
exits "lossless and lossy" 2 kconvert --require-lossless --lossy $nano -o "$T/x.kmf"
exits "sealing under another name" 2 kconvert --seal "$T/x.kmf" -o "$T/y.kmf"
bytes=$(wc -c < "$T/nano.kmf")
for part in 10 5000 $((bytes / 2)) $((bytes - 1)); do
	head -c $part "$T/nano.kmf" | kconvert - -o "$T/x.kmf" 2> "$T/.err"
	if [ $? -eq 3 ] && [ ! -e "$T/x.kmf" ]; then ok "a pipe cut at $part"; else fail "a pipe cut at $part" "$(cat "$T/.err")"; fi
done
kconvert $nano 2> "$T/.err" > /dev/full
[ $? -eq 5 ] && ok "a full disk" || fail "a full disk" "$(cat "$T/.err")"
kconvert $nano 2> "$T/.err" | head -c 100 > /dev/null
[ ! -s "$T/.err" ] && ok "a reader that leaves is no news" || fail "a reader that leaves" "$(cat "$T/.err")"
kconvert $nano >&- 2> "$T/.err"
[ $? -eq 5 ] && ok "closed standard output" || fail "closed standard output" "$(cat "$T/.err")"
cp -rL $nano "$T/shards" && chmod -R u+w "$T/shards" && rm "$T/shards/model-00002-of-00003.safetensors"
exits "a shard is missing" 3 kconvert "$T/shards" -o "$T/x.kmf"
if [ "$(id -u)" != 0 ]; then
	cp $nano/model-00002-of-00003.safetensors "$T/shards/" && chmod 000 "$T/shards/model-00002-of-00003.safetensors"
	exits "a shard that may not be read" 5 kconvert "$T/shards" -o "$T/x.kmf"
else
	skip "a shard that may not be read" "root reads everything"
fi
for f in "$T"/x.kmf*; do if [ -e "$f" ]; then fail "failures" "$f is left"; fi; done
# No experts at all, between tensors that have values.
python3 - "$T/empty.safetensors" <<'PY'
import json, struct, sys
h = {n: {'dtype': 'F32', 'shape': s, 'data_offsets': o} for n, s, o in (('a', [4, 4], [0, 64]), ('b', [0, 4, 4], [64, 64]), ('c', [4, 4], [64, 128]))}
j = json.dumps(h).encode()
open(sys.argv[1], 'wb').write(struct.pack('<Q', len(j)) + j + bytes(range(128)))
PY
check "an empty stack" kls --verify "$T/empty.safetensors"
# A shard by itself is tensors without a config: its folder is the model, and is named.
exits "one shard" 0 kconvert testdata/nano/model-00002-of-00003.safetensors -o "$T/shard.kmf"
grep -q "^kconvert: 'testdata/nano/model-00002-of-00003.safetensors' is read alone, .*; the model is its folder, 'testdata/nano'$" "$T/.err" && ok "one shard: its folder" || fail "one shard: its folder" "$(cat "$T/.err")"
exits "tensors without a folder of a model" 0 kconvert "$T/empty.safetensors" -o "$T/alone.kmf"
grep -q 'read alone' "$T/.err" && fail "tensors without a folder of a model" "$(cat "$T/.err")" || ok "tensors without a folder of a model"
check "an empty stack is converted" kconvert "$T/empty.safetensors" -o "$T/empty.kmf" && check "and is the same" kls --diff "$T/empty.safetensors" "$T/empty.kmf"
# What is not in the page cache is read once: taps of convolutions, of which a slice has eight bytes, too.
cp -rL $nano "$T/cold" && sync
python3 - "$T/cold" <<'PY' > "$T/.out" 2>&1
import glob, os, resource, subprocess, sys
files = glob.glob(sys.argv[1] + '/*.safetensors')
for f in files:
    fd = os.open(f, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
subprocess.run(['kserve', '--stdio', '-q', sys.argv[1]], stdin=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock * 512 / sum(map(os.path.getsize, files)))
PY
case $(cat "$T/.out") in
0.[89]*|1.[0-4]*) ok "read once" ;;
0.*) skip "read once" "the page cache does not let go" ;;
*) fail "read once" "$(tail -n 1 "$T/.out") times" ;;
esac
kconvert --plan $nano > "$T/plan" && python3 -c 'import json,sys; p=json.load(open(sys.argv[1])); assert p["peak_memory"] < 512 << 20 and p["bytes"] > 0' "$T/plan" && ok "--plan" || fail "--plan" "$(cat "$T/plan")"
# The index is written as Python writes it, names sorted, of one shard and of many.
for size in 5GB 100K 1; do
	rm -rf "$T/ix" && kconvert testdata/tiny/k3-tiny --to hf --shard-size $size -o "$T/ix" && python3 - "$T/ix" <<'PY' && ok "index, shards of $size" || fail "index, shards of $size" "$(head -c 300 "$T/ix/model.safetensors.index.json")"
import glob, json, os, sys
from hf_read import tensors
os.chdir(sys.argv[1])
name = "model.safetensors.index.json"
shards = glob.glob("*.safetensors")
assert os.path.exists(name) == (len(shards) > 1)
if len(shards) > 1:
    text = open(name).read()
    index = json.loads(text)
    assert text == json.dumps(index, indent=2, sort_keys=True) + "\n"
    assert set(index["weight_map"].values()) == set(shards) and set(index["weight_map"]) == set(tensors(".")) and len(shards) > 9
    assert index["metadata"]["total_size"] == sum(len(raw) for _, _, raw in tensors(".").values())
PY
done
finish
