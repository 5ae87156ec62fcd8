#!/bin/bash
# kls.sh: what kls shows and says, against independent readings of the same files.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
kconvert $nano -o "$T/nano.kmf" && kquant -t i4g32 $nano -o "$T/i4.kmf" || { fail setup "nano does not convert"; finish; }
for m in $nano "$T/nano.kmf" "$T/i4.kmf" testdata/tiny/llama-tiny-gguf/llama-tiny-Q4_0.gguf; do
	check "list $(basename $m)" kls "$m"
	kls --json "$m" > "$T/out" && check "--json $(basename $m) is JSON lines" python3 -c 'import json,sys; r=[json.loads(l) for l in open(sys.argv[1])]; assert len(r) > 10' "$T/out"
	check "--verify $(basename $m)" kls --verify "$m"
	check "--budget $(basename $m)" kls --budget "$m"
done
kls --head "$T/i4.kmf" > "$T/out" && check "--head is JSON" python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$T/out"
kls --history "$T/i4.kmf" > "$T/out" && grep -q quantise "$T/out" && ok "--history" || fail "--history" "$(cat "$T/out")"
check "--stats" kls --stats "$T/i4.kmf"
# Values against the shard itself.
kls --dump model.norm.weight "$T/nano.kmf" -o "$T/n.npy" && python3 - "$T/n.npy" <<'PY' && ok "--dump" || fail "--dump" "other values"
import glob, json, struct, sys
d = open(sys.argv[1], 'rb').read()
assert d[:6] == b'\x93NUMPY'
n, = struct.unpack('<H', d[8:10])
assert "'<f4'" in d[10:10 + n].decode()
have = d[10 + n:]
for f in glob.glob('testdata/nano/*.safetensors'):
    s = open(f, 'rb').read()
    h, = struct.unpack('<Q', s[:8])
    v = json.loads(s[8:8 + h]).get('model.norm.weight')
    if v:
        a, b = v['data_offsets']
        raw = s[8 + h + a:8 + h + b]
        want = raw if v['dtype'] == 'F32' else b''.join(b'\0\0' + raw[i:i + 2] for i in range(0, len(raw), 2))
        assert have == want
        break
else:
    raise SystemExit('no model.norm.weight')
PY
exits "an option without its action" 2 kls --raw "$T/nano.kmf"
exits "--dump of what is not there" 3 kls --dump nope "$T/nano.kmf" -o "$T/x.npy"
exits "--diff of equal models" 0 kls --diff "$T/nano.kmf" $nano
exits "--diff of other models" 1 kls --diff "$T/nano.kmf" "$T/i4.kmf"
# Figures of a difference, by hand: rms of (0, 1) over that of (3, 4), and infinities that are equal; what is no number, and what was
# zero, differ by infinity.
python3 - "$T" <<'PY'
import json, struct, sys
def write(name, tensors):
    head, data = {}, b''
    for k, v in tensors.items():
        raw = struct.pack(f'<{len(v)}f', *v)
        head[k] = {'dtype': 'F32', 'shape': [len(v)], 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    open(f'{sys.argv[1]}/{name}.safetensors', 'wb').write(struct.pack('<Q', len(text)) + text + data)
nan, inf = float('nan'), float('inf')
write('x', {'near': [3, 4, inf], 'nan': [nan, 2], 'same': [nan, -inf], 'zero': [0, 0], 'sign': [0, 1], 'none': []})
write('y', {'near': [3, 5, inf], 'nan': [5, 2], 'same': [nan, -inf], 'zero': [0, 2], 'sign': [-0.0, 1], 'none': []})
PY
exits "--diff with figures" 1 kls --diff --json "$T/x.safetensors" "$T/y.safetensors"
python3 - "$T/.out" <<'PY' && ok "the figures" || fail "the figures" "$(cat "$T/.out")"
import json, sys
has = {r['name']: (r['values'], r['max_abs'], r['rel_rms']) for r in map(json.loads, open(sys.argv[1]))}
assert has == {'near': (1, 1, 0.200000003), 'nan': (1, None, None), 'zero': (1, 2, None), 'sign': (1, 0, 0)}, has
PY
printf 'What is a river?' > "$T/text"
kls --tokens "$T/text" --whole "$T/nano.kmf" > "$T/a" && kls --tokens "$T/text" --whole $nano > "$T/b" && same "--tokens by container and folder" "$T/a" "$T/b"
printf '{"messages":[{"role":"user","content":"What is a river?"}]}' > "$T/req"
kls --render "$T/req" "$T/nano.kmf" > "$T/out" && grep -q 'What is a river' "$T/out" && ok "--render" || fail "--render" "$(head -c 200 "$T/out")"
# Damage anywhere is noticed, from a file and from a pipe.
bytes=$(wc -c < "$T/i4.kmf")
for at in 3 100 5000 $((bytes / 3)) $((bytes / 2)) $((bytes - 100)) $((bytes - 5)); do
	python3 - "$T/i4.kmf" "$T/bad.kmf" "$at" <<'PY'
import sys
d = bytearray(open(sys.argv[1], 'rb').read())
d[int(sys.argv[3])] ^= 0x20
open(sys.argv[2], 'wb').write(d)
PY
	exits "a wrong byte at $at" 3 kls --verify "$T/bad.kmf"
	cat "$T/bad.kmf" | kls --verify - > /dev/null 2> "$T/.err"
	[ ${PIPESTATUS[1]} -eq 3 ] && ok "the same in a pipe" || fail "a wrong byte at $at in a pipe" "$(cat "$T/.err")"
done
for o in --stats '--dump lm_head.weight'; do exits "$o of a pipe" 2 sh -c "kconvert testdata/nano | kls $o -"; done
# Figures that no number holds are refused, and the largest ones hold together.
# Is this GGUF the official model? Its experts hold the same values in another type; a multimodal model's names are longer than its text model's.
kconvert -q testdata/tiny/kimi-k2-tiny-int4 --to gguf -o "$T/q4.gguf"
exits "--diff of INT4 and Q4_0" 1 kls --diff --json testdata/tiny/kimi-k2-tiny-int4 "$T/q4.gguf"
grep -q 'differ in 23 entries, first generation_config.json; of these 21 hold the same values in another type or layout$' "$T/.err" && ok "what holds the same values" || fail "what holds the same values" "$(cat "$T/.err")"
kconvert -q testdata/tiny/k3-tiny --to gguf -o "$T/k3.gguf"
for sides in "testdata/tiny/k3-tiny $T/k3.gguf" "$T/k3.gguf testdata/tiny/k3-tiny"; do
	exits "--diff of a model and its text model" 1 kls --diff --json $sides
	jq -se 'all(.differs | test("only") | not) and ([.[] | select(.name | test("experts.\\*"))] | length == 36 and all(.values == 0))' "$T/.out" > /dev/null &&
		ok "its experts are the same" || fail "its experts are the same" "$(head -n 3 "$T/.out")"
done
# A config alone: what tokens keep, as of the whole model, and no zeros for what is not known.
mkdir "$T/config" && cp testdata/nano/config.json "$T/config/"
kls --budget --json --ctx 1000 testdata/nano > "$T/whole"
kls --budget --json --ctx 1000 "$T/config" > "$T/alone" 2> "$T/.err"
jq -e --slurpfile whole "$T/whole" '.state == $whole[0].state and .state > 0 and .context == 1000 and .bytes_per_token == null and .resident == null and
	has("routed_experts") and .routed_experts == null' "$T/alone" > /dev/null && grep -q 'has a config and no tensors' "$T/.err" &&
	ok "--budget of a config alone" || fail "--budget of a config alone" "$(cat "$T/alone" "$T/.err")"
kls --budget --table "$T/config" 2> /dev/null | grep -q '^in all  *-$' && ok "--budget of a config alone, as a table" || fail "--budget of a config alone, as a table" "no line 'in all -'"
for n in 9000000000000000000 9223372036854775807; do exits "--budget --ctx $n" 2 kls --budget --ctx $n testdata/tiny/moonlight-tiny; done
kls --budget --json --ctx 1000000000000000 testdata/tiny/moonlight-tiny | jq -e '.state >= 1e15 and .bytes_per_token >= .state and .resident >= .state' > "$T/.out" && ok "--budget of a long context" || fail "--budget of a long context" "$(cat "$T/.out")"
# A container that is whole, and not what its config says: as loading would find.
kconvert -q testdata/tiny/k3-tiny -o "$T/k3.kmf" && python3 - "$T" <<'PY'
import json, struct, sys
from kmf_make import build
t = sys.argv[1]
b = open(t + '/k3.kmf', 'rb').read()
n, = struct.unpack_from('<Q', b, 16)
head = json.loads(b[64:64 + n])
base = -(-(64 + n) // 4096) * 4096
pairs = [({**e, 'offset': None}, b[base + e['offset']:base + e['offset'] + e['bytes']]) for e in head['entries']]
def make(name, change=lambda e, d: (e, d), **config):
    new = [change(e, d) for e, d in pairs]
    text = json.loads(head['config'])
    text['text_config'].update(config)
    open(f'{t}/{name}.kmf', 'wb').write(build([p for p in new if p], {'arch': 'kimi_k3', 'config': json.dumps(text)}))
def only(end, what):
    return lambda e, d: what(e, d) if e['name'].endswith(end) else (e, d)
make('as_it_was')
make('missing', only('layers.3.self_attn.g_proj.weight', lambda e, d: None))
make('shape', only('model.norm.weight', lambda e, d: ({**e, 'shape': [32], 'bytes': 64}, d[:64])))
make('config', vocab_size=97)
make('layers', num_hidden_layers=14)
make('act', hidden_act='gelu')
make('tail', only('layers.2.self_attn.A_log', lambda e, d: (e, d[:-4] + struct.pack('<f', 1))))
make('tail4', only('layers.2.self_attn.A_log', lambda e, d: ({**e, 'shape': [1, 1, 16, 1]}, d)))
PY
for m in as_it_was tail4; do check "--verify of $m" kls --verify "$T/$m.kmf"; done
# A download that broke off where the disk was reserved ends in zeros, and is well formed.
cp -r testdata/tiny/kimi-linear-tiny "$T/cut" && chmod -R u+w "$T/cut"
kls --verify "$T/cut" > "$T/.out" 2> "$T/.err"; grep -q zeros "$T/.err" && fail "no zeros" "$(cat "$T/.err")" || ok "no zeros"
f=$T/cut/model-00002-of-00003.safetensors n=$(stat -c %s "$T/cut/model-00002-of-00003.safetensors")
truncate -s $((n / 2)) "$f" && truncate -s "$n" "$f"
check "zeros are well formed" kls --verify "$T/cut"
grep -q "warning: .*cut': nothing but zeros in model.layers.2.self_attn.q_proj.weight and other matrices" "$T/.err" && ok "and said" || fail "zeros" "$(cat "$T/.err")"
refused() { exits "--verify of $1" "$2" kls --verify "$T/$1.kmf"; grep -q "$3" "$T/.err" && ok "$1 is said" || fail "$1 is said" "$(tail -n 1 "$T/.err")"; }
refused missing 3 'layers.3.self_attn.g_proj.weight is missing, kimi_k3 wants it'; refused shape 3 'model.norm.weight has shape \[32\], its config wants \[64\]'
refused config 3 'embed_tokens.weight has shape \[96, 64\], its config wants \[97, 64\]'; refused layers 3 'layer 14 is neither'
refused act 4 "hidden_act is 'gelu', wanted 'silu' or 'situ'"
refused tail 3 'layers.2.self_attn.A_log: value 15 is 1, wanted 0 behind 3 values'
exits "and from a pipe" 3 sh -c "kls --verify - < '$T/tail.kmf'"
kconvert "$T/tail.kmf" --to hf -o "$T/tail.hf"; exits "and from a folder" 3 kls --verify "$T/tail.hf"; exits "which is not converted" 3 kconvert "$T/tail.hf" -o "$T/x.kmf"
finish
