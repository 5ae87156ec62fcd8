#!/bin/bash
# release.sh: scripts/release.mk on nano: a whole release through every gate, one that is stopped, and regressions of quality, speed, size,
# signature and tool calls, each of which stops it; and the examples that make a container in parts.
. "$(dirname "$0")/lib.sh"
root=$(pwd)
command -v openssl > /dev/null || { skip release "no openssl to make a key"; finish; }
command -v jq > /dev/null || { skip release "no jq"; finish; }
mkdir "$T/r" && cp -rL testdata/nano "$T/r/nano" && chmod -R u+w "$T/r/nano"
head -c 3000 testdata/nano/eval/prose.txt > "$T/r/text"
openssl ecparam -name prime256v1 -genkey -noout -out "$T/r/key.pem" 2> /dev/null && openssl ec -in "$T/r/key.pem" -pubout -out "$T/r/pub.pem" 2> /dev/null
cat > "$T/r/makefile" <<MK
K_KEY = key.pem
K_PUB = pub.pem
K_TEXT = text
K_PPL_BARS = ppl<28 tokens>100
K_LOSS_BARS = experts.rel_rms>0.3
K_QUANT_FLAGS = --preset k2-thinking --ledger \$*.ledger.jsonl
K_KLD_BARS = kld_mean<0.02 top1_agree>=0.9
K_CHOICE = choice.jsonl
K_CHOICE_FLAGS = --limit 8
K_CHOICE_BARS = acc_norm>=0.25
K_TOOLCALL = calls.jsonl
K_TOOLCALL_BARS = trigger_f1>=0.99 schema_accuracy>=0.99
K_AGENT = toolloop.json
K_AGENT_FLAGS = --steps 3
K_AGENT_BARS = completed>=1 invalid_calls==0
K_SIZE_MAX = 16000000
K_BASELINE = last.kmf
K_SPEED_RUN = ./run
K_SPEED_FLAGS = --ignore-output --reps 10
include $root/scripts/release.mk
MK
cp testdata/eval/choice.jsonl testdata/nano/eval/toolloop.json "$T/r"
jq -c '{tools, messages: [{role: "user", content: .user}], max_tokens: 64, temperature: 0} | {request: ., finish_reason: "tool_calls"},
	{request: (. + {messages: [{role: "user", content: "Hello"}]}), finish_reason: "stop"}' testdata/nano/eval/toolloop.json > "$T/r/calls.jsonl"
cd "$T/r" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
MAKE=$(command -v make) || { cd "$root"; skip release "no make"; finish; }
# What is timed: a short text is scored. The last release had its experts in BF16.
head -c 60 text > short && printf '#!/bin/sh\nkeval ppl -f short -m "$1"\n' > run && chmod +x run
kconvert nano -o last.kmf || fail setup "no last release"
# stops NAME ERROR SENTENCE TARGET VARIABLE...: make ends with 2, the recipe with ERROR, the tool says SENTENCE, nothing is signed or checked.
stops() {
	stops_name=$1 stops_error=$2 stops_says=$3; shift 3
	exits "$stops_name" 2 "$MAKE" "$@"
	if grep -q "^make: .*Error $stops_error\$" "$T/.err" && grep -qE "$stops_says" "$T/.err"; then ok "$stops_name: says so"; else fail "$stops_name: says so" "$(cat "$T/.err")"; fi
	stops_left=$(ls "$1" 2> /dev/null; ls ./*.tmp.* ./*.new 2> /dev/null)
	if [ -z "$stops_left" ]; then ok "$stops_name: nothing is left"; else fail "$stops_name: nothing is left" "$stops_left"; fi
}
# A first release, parallel, stopped in the middle: nothing that is there is half.
(timeout -s INT 0.4 "$MAKE" -j4 nano.i4.kmf.sig; exit $?) > /dev/null 2>&1
for f in *.kmf; do [ -e "$f" ] && check "a stopped make leaves no half $f" kls --verify "$f"; done
for f in *.tmp.* *.new; do [ -e "$f" ] && fail "a stopped make" "$f is left"; done
check "a release" "$MAKE" -j2 nano.i4.kmf.sig nano.i4.kmf.manifest nano.i4.kmf.checked
for f in nano.kmf nano.i4.kmf nano.i4.kmf.sig nano.i4.kmf.manifest nano.i4.kmf.size nano.i4.kmf.checked nano.kld.ref nano.ledger.jsonl; do
	[ -s $f ] && ok "$f" || fail release "no $f"
done
for t in ppl kld choice toolcall agent speed; do
	if tail -n 1 nano.i4.$t.jsonl | jq -e .summary > /dev/null && grep -q '<testsuite ' nano.i4.$t.xml; then ok "report on $t"; else fail release "no report on $t"; fi
done
check "the signature" kls --check-sign pub.pem --sig nano.i4.kmf.sig nano.i4.kmf
check "the manifest" sha256sum -c nano.i4.kmf.manifest
kconvert "$root/testdata/nano" | kquant --preset k2-thinking > want.kmf && same "the container" want.kmf nano.i4.kmf
exits "a second make has nothing to do" 0 "$MAKE" -q nano.i4.kmf.sig nano.i4.kmf.manifest nano.i4.kmf.checked

# --- regressions --------------------------------------------------------------------------------------------------------------------
# Each is real, and each is stopped by the gate that is for it.
x=nano.i4.kmf.sig
cp -p nano.i4.kmf good.kmf && cp -p nano.i4.kmf.sig good.sig
# flip FILE: one bit in the middle, and no time changes
flip() { python3 -c 'import os, sys
f, t = sys.argv[1], os.stat(sys.argv[1]).st_mtime_ns
with open(f, "r+b") as h:
    h.seek(os.path.getsize(f) // 2); b = h.read(1)[0] ^ 1; h.seek(-1, 1); h.write(bytes([b]))
os.utime(f, ns=(t, t))' "$1"; }
rm nano.i4.kmf.checked && flip nano.i4.kmf
stops "signature: a bit flipped after signing" 1 "kls: 'nano.i4.kmf': differs from what was signed in model\..*, from byte [0-9]+ on" nano.i4.kmf.checked
rm nano.i4.kmf.sig
stops "signature: a bit flipped before signing" 3 "kls: 'nano.i4.kmf': model\..* has a wrong digest .*the container is damaged" $x
cp -p good.kmf nano.i4.kmf && cp -p good.sig nano.i4.kmf.sig
openssl ecparam -name prime256v1 -genkey -noout -out other.pem 2> /dev/null && openssl ec -in other.pem -pubout -out wrong.pem 2> /dev/null
stops "signature: another key" 1 "kls: 'nano.i4.kmf.sig': .*key" nano.i4.kmf.checked K_PUB=wrong.pem
printf '#!/bin/sh\ncase $1 in nano.*) sleep 0.4 ;; esac\nexec kls --head "$1"\n' > slow && chmod +x slow
stops "speed: a wrapper that delays" 1 'kbench: B takes [0-9.]+ times as long as A' $x K_SPEED_RUN=./slow
stops "size: experts that were kept" 1 'release.mk: nano.i4.kmf has [0-9]+ bytes, wanted at most 16000000' $x K_QUANT_FLAGS='--rule experts=keep' K_LOSS_BARS=
stops "quality: a coarser type everywhere" 1 'keval: (kld_mean|top1_agree) is [0-9.]+, the bar is' $x K_QUANT_FLAGS='-t mxfp4 --rule *=mxfp4' K_LOSS_BARS= K_PPL_BARS=
stops "quality: a loss that is too large" 1 'kquant: .*rel_rms' $x K_LOSS_BARS='experts.rel_rms>0.001'
# Two other models: four experts of a layer are 32 times too large (BF16: 5 more in the exponent); the chat template is cut short.
cp -r nano hot && python3 - <<'PY'
import json, struct
where = json.load(open('hot/model.safetensors.index.json'))['weight_map']
for name in (f'model.layers.1.block_sparse_moe.experts.{e}.w2.weight' for e in range(4)):
    with open('hot/' + where[name], 'r+b') as f:
        size = struct.unpack('<Q', f.read(8))[0]
        begin, end = json.loads(f.read(size))[name]['data_offsets']
        f.seek(8 + size + begin)
        values = struct.unpack(f'<{(end - begin) // 2}H', f.read(end - begin))
        f.seek(8 + size + begin)
        f.write(struct.pack(f'<{len(values)}H', *(v + (5 << 7) if v & 0x7f80 else v for v in values)))
PY
stops "quality: damaged experts" 1 'keval: ppl is [0-9.]+, the bar is ppl<28' hot.i4.kmf.sig
[ -s hot.i4.ppl.jsonl.missed ] && ok "the report that missed is kept" || fail "damaged experts" "no report"
cp -r nano mute && head -c 900 nano/chat_template.jinja > mute/chat_template.jinja
stops "tool calls: a template that is cut short" 1 'keval: .*trigger_f1' mute.i4.kmf.sig K_AGENT=
stops "tool calls: in a loop" 1 "keval: .*" mute.i4.kmf.sig K_TOOLCALL=
stops "no text to judge by" 2 'release.mk: K_PPL names what' $x K_TEXT=
check "what was good is signed again" "$MAKE" -j2 nano.i4.kmf.sig nano.i4.kmf.checked
if kconvert --to gguf nano.kmf -o probe.gguf 2> /dev/null; then
	check "gguf" "$MAKE" nano.gguf.sig K_CHOICE= K_TOOLCALL= K_AGENT= K_BASELINE= K_SIZE_MAX=
	check "its signature" kls --check-sign pub.pem --sig nano.gguf.sig nano.gguf
else
	skip "nano.gguf" "kconvert --to gguf does not write this model"
fi
# --- parts ---------------------------------------------------------------------------------------------------------------------------
check "parts by make -j" "$MAKE" -s -j3 -f "$root/scripts/parts-make.mk" MODEL=nano OUT=made.kmf PARTS=5
same "parts by make" made.kmf nano.kmf
exits "and it is up to date" 0 "$MAKE" -q -f "$root/scripts/parts-make.mk" MODEL=nano OUT=made.kmf PARTS=5
if command -v parallel > /dev/null; then
	check "parts by GNU parallel" sh "$root/scripts/parts-parallel.sh" nano par.kmf 4
	same "parts by parallel" par.kmf nano.kmf
else
	skip "parts by GNU parallel" "no parallel"
fi
# Slurm by a stand-in that runs the array's tasks backwards, then what waits for them.
mkdir bin && cat > bin/sbatch <<'SB'
#!/bin/sh
n= after=
while [ $# -gt 0 ]; do
	case $1 in
	--array=1-*) n=${1#--array=1-} ;;
	--dependency=afterok:7) after=1 ;;
	--*) ;;
	*) break ;;
	esac
	shift
done
echo "$*" >> sbatch.log
if [ -n "$n" ]; then
	while [ "$n" -gt 0 ]; do SLURM_ARRAY_TASK_ID=$n SLURM_ARRAY_TASK_COUNT=${tasks:=$n} sh "$@" >&2 || exit 1; n=$((n - 1)); done
elif [ -n "$after" ]; then
	sh "$@" >&2 || exit 1
fi
echo 7
SB
chmod +x bin/sbatch
check "parts by a Slurm array" env PATH="$T/r/bin:$PATH" sh "$root/scripts/parts-slurm.sh" nano slurm.kmf 3
same "parts by Slurm" slurm.kmf nano.kmf
cd "$root" || exit 1
finish
