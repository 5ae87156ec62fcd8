#!/bin/sh
# certificate.sh: what kconvert --certificate says of every tensor: digests that a program which knows nothing of ours computes again from
# the files, and losses that are there.
. "$(dirname "$0")/lib.sh"
data=${K_TESTDATA:-testdata}/tiny

check 'INT4 passes' kconvert "$data/kimi-k2-tiny-int4" --certificate "$T/int4.jsonl" --require-lossless -o "$T/int4.kmf"
check 'FP8 passes' kconvert "$data/kimi-k2-tiny-fp8" --certificate "$T/fp8.jsonl" --require-lossless -o "$T/fp8.kmf"
check 'a narrowing is certified' kconvert "$data/kimi-k2-tiny" --dtype f16 --certificate "$T/f16.jsonl" -o "$T/f16.kmf"
exits 'a narrowing is refused when nothing may be lost' 1 kconvert "$data/kimi-k2-tiny" --dtype f16 --certificate "$T/no.jsonl" --require-lossless -o "$T/no.kmf"
check 'nothing is left' test ! -e "$T/no.kmf"
kconvert "$data/kimi-k2-tiny" --dtype f16 --certificate "$T/no.jsonl" --require-lossless -o "$T/no.kmf" 2> "$T/said"
check 'the sentence names tensor and place' grep -q 'q_a_proj.weight: the value .* at row [0-9]*, column [0-9]* becomes' "$T/said"
same 'the certificate is complete when the answer is no' "$T/f16.jsonl" "$T/no.jsonl"
check 'kquant certifies too' kquant "$data/kimi-k2-tiny" --certificate "$T/q.jsonl" -o "$T/q.kmf"
kconvert "$data/kimi-k2-tiny" -o "$T/k2.kmf"
exits 'certificate and model into one pipe' 2 kconvert "$data/kimi-k2-tiny" --certificate -
exits 'certificate and ledger into one pipe' 2 kquant "$data/kimi-k2-tiny" --certificate - --ledger - -o "$T/x.kmf"
check 'from a container' kconvert "$T/k2.kmf" --certificate "$T/kmf.jsonl" -o "$T/again.kmf"
for n in 1 2 5; do kconvert -j $n "$data/kimi-k2-tiny" --dtype f16 --certificate "$T/f16.$n.jsonl" -o "$T/x.kmf"; same "$n threads" "$T/f16.jsonl" "$T/f16.$n.jsonl"; done

if ! command -v python3 > /dev/null; then skip 'digests by another program' 'no python3'; finish; fi
check 'digests by another program' python3 - "$data" "$T" << 'END'
import hashlib, json, struct, sys
from hf_read import tensors
data, tmp = sys.argv[1:]

def rows(name):
    r = [json.loads(x) for x in open(f"{tmp}/{name}.jsonl")]
    assert r[-1]["summary"] is True and r[-1]["tensors"] == len(r) - 1
    return r[:-1]

for model, name in (("kimi-k2-tiny-int4", "int4"), ("kimi-k2-tiny-fp8", "fp8"), ("kimi-k2-tiny", "f16"), ("kimi-k2-tiny", "q")):
    have, seen = tensors(f"{data}/{model}"), set()
    for r in rows(name):
        for s in r["source"]:
            assert hashlib.sha256(have[s["name"]][2]).hexdigest() == s["sha256"], s["name"]
            seen.add(s["name"])
    missing = {k for k in set(have) - seen if not k.endswith(".weight_shape")}
    assert not missing, missing
assert all(r["lossless"] for r in rows("int4") + rows("fp8") + rows("kmf"))

# What F16 loses, counted here.
have, lossy = tensors(f"{data}/kimi-k2-tiny"), 0
for r in rows("f16"):
    dtype, shape, raw = have[r["source"][0]["name"]]
    bits = [u << 16 for u, in struct.iter_unpack("<H", raw)] if dtype == "BF16" else [u for u, in struct.iter_unpack("<I", raw)]
    lost = 0
    for b in bits:
        x, = struct.unpack("<f", struct.pack("<I", b))
        lost += struct.unpack("<e", struct.pack("<e", x))[0] != x
    assert r["lossless"] == (lost == 0) and r.get("lost", {}).get("values", 0) == lost, r
    lossy += lost > 0
assert lossy > 5
END

# A value for which the new type has no room: sound input, so the answer is no, --lossy or not, whatever is written, and all of it is certified.
nano=${K_TESTDATA:-testdata}/nano
check 'values that f16 does not hold' python3 cmd/test/plant.py "$nano" "$T/large" large 3 5
for o in '' '--lossy' '--require-lossless' '--to gguf' '--to hf' '--resume' '--resume' '--part 1/1'; do
	exits "too large: $o" 1 kconvert "$T/large" --dtype f16 $o -o "$T/large.out"
	grep -q '^kconvert: .*embed_tokens.weight: .*value 1048576 at row 7, column 208' "$T/.err" && grep -q 'warning: .*experts\.5\.w1\.weight: .*value 1048576 at row' "$T/.err" &&
		ok "too large: $o: the list" || fail "too large: $o: the list" "$(cat "$T/.err")"
	check "too large: $o: no output" test ! -e "$T/large.out"
done
exits 'too large: it cannot be sealed' 3 kconvert --seal "$T/large.out"
exits 'too large: certified' 1 kconvert "$T/large" --dtype f16 --lossy --certificate "$T/large.jsonl" -o "$T/large.out"
check 'too large: the certificate is complete' python3 - "$T/large.jsonl" << 'END'
import json, sys
rows = [json.loads(x) for x in open(sys.argv[1])]
assert rows[-1]["summary"] and rows[-1]["tensors"] == len(rows) - 1 and not rows[-1]["lossless"]
assert sorted(r["source"][0]["name"] for r in rows[:-1] if r.get("lost", {}).get("largest_error", 0) is None) == \
    ["model.embed_tokens.weight", "model.layers.3.block_sparse_moe.experts.5.w1.weight"]
END
exits 'too large: kquant' 1 kquant -t f16 --ledger "$T/large.l" "$T/large" -o "$T/large.out"
check 'too large: the ledger is JSON' python3 -c 'import json, sys; [json.loads(l, parse_constant=lambda c: 1 / 0) for l in open(sys.argv[1])]' "$T/large.l"
exits 'too large for block scales' 1 kquant -t q4_0 --rule experts=keep --rule embed=q4_0 "$T/large" -o "$T/large.out"
# Of many tensors that are not exact the first are named, and how many there are is said; -v and the certificate name all.
kquant -q -t i8row "$nano" -o "$T/i8.kmf"
exits 'many inexact tensors' 1 kconvert "$T/i8.kmf" --to gguf -o "$T/i8.gguf"
[ "$(grep -c 'values are not exact' "$T/.err")" -eq 100 ] && grep -q 'values in 336 tensors are not exact in the new type; --certificate FILE names them all$' "$T/.err" && ok 'a hundred are named' || fail 'a hundred are named' "$(wc -l < "$T/.err") lines"
exits 'many inexact tensors, -v' 1 kconvert -v "$T/i8.kmf" --to gguf --certificate "$T/i8.jsonl" -o "$T/i8.gguf"
[ "$(grep -c 'values are not exact' "$T/.err")" -eq 336 ] && [ "$(grep -c '"lossless": false' "$T/i8.jsonl")" -eq 337 ] && ok 'all are named' || fail 'all are named' "$(wc -l < "$T/.err") lines"
finish
