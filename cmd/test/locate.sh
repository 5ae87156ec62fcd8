#!/bin/bash
# locate.sh: planted defects are located by keval parity at their layer, kind, token and expert, against bundles that transformers made of the tiny
# models (scripts/bundle.py) and against nano's own; and what certificate, ledger, divergence and parity each see of a defect of nano is what
# evals/defects.md says.
. "$(dirname "$0")/lib.sh"
text=testdata/texts/sqlite-whentouse.txt
plant() { python3 cmd/test/plant.py "$@" || fail plant "$*"; }
# located NAME LAYER KIND TOKEN EXPERT: by the summary in $T/.out
located() {
	figures=$(python3 -c 'import json,sys
s=[json.loads(l) for l in open(sys.argv[1])][-1]
print(*(s.get("first_bad_" + k) for k in ("layer", "kind", "token", "expert")))' "$T/.out")
	if [ "$figures" = "$2 $3 $4 $5" ]; then ok "$1"; else fail "$1" "located $figures, wanted $2 $3 $4 $5"; fi
}

# --- somebody else's computation --------------------------------------------------------------------------------------------------
# Kimi-Linear: layers 2 and 4 are MLA, the others KDA; all but layer 0 have experts. Its bands are of float32 and bfloat16.
check "kimi-linear-tiny is what transformers computes" keval parity -m testdata/tiny/kimi-linear-tiny -f testdata/bundle/kimi-linear-tiny
check "and in bfloat16" keval parity -m testdata/tiny/kimi-linear-tiny -f testdata/bundle/kimi-linear-tiny --act bf16
# Bands of float64 and float32 are narrow: transformers, as Moonshot's code, has 1e-6 in the norms within MLA, where engines have the model's own.
check "kimi-k2-tiny is what transformers computes" keval parity -m testdata/tiny/kimi-k2-tiny -f testdata/bundle/kimi-k2-tiny --profile hf_remote
exits "another epsilon within attention" 1 keval parity --json -m testdata/tiny/kimi-k2-tiny -f testdata/bundle/kimi-k2-tiny
located "another epsilon within attention" 0 hidden 0 None

# against MODEL LAYER KIND TOKEN EXPERT WHAT ARG...
against() {
	am=$1 al=$2 ak=$3 at=$4 ae=$5 profile=engine; shift 5
	[ $am = kimi-k2-tiny ] && profile=hf_remote
	rm -rf "$T/d"
	plant testdata/tiny/$am "$T/d" "$@"
	exits "$am: $*: status" 1 keval parity --json --profile $profile -m "$T/d" -f testdata/bundle/$am
	located "$am: $*" "$al" "$ak" "$at" "$ae"
}
against kimi-linear-tiny 1 conv 0 None layers 1 3
against kimi-linear-tiny 2 scores 0 None layers 2 4
against kimi-linear-tiny 0 state 1 None decay 0
against kimi-linear-tiny 1 state 1 None decay 1
against kimi-linear-tiny 3 state 2 None decay 3
against kimi-linear-tiny 1 state 0 None taps 1
against kimi-linear-tiny 3 state 1 None taps 3
against kimi-linear-tiny 4 scores 0 None bias 4
against kimi-linear-tiny 1 scores 0 None config moe_router_activation_func '"softmax"'
against kimi-linear-tiny 1 weights 0 None config moe_renormalize false
against kimi-linear-tiny 2 hidden 2 5 zero 2 5
against kimi-linear-tiny 3 hidden 2 5 zero 3 5
against kimi-k2-tiny 0 hidden 1 None config rope_scaling null
against kimi-k2-tiny 0 hidden 1 None config rope_theta 10000.0
against kimi-k2-tiny 1 weights 0 None config norm_topk_prob false
against kimi-k2-tiny 1 scores 0 None layers 1 2
against kimi-k2-tiny 2 scores 0 None bias 2

# --- what each instrument sees ------------------------------------------------------------------------------------------------------
cat > "$T/row.py" <<'PY'
# row.py NAME RIGHT.cert CERT LEDGER-ERR KLD PARITY: the row of the table
import json, sys
name, right, cert, ledger, kld, parity = sys.argv[1:]
def rows(f): return [json.loads(l) for l in open(f)]
def digests(f): return {s['name']: s['sha256'] for r in rows(f) for s in r.get('source', [])}
a, b = digests(right), digests(cert)
n = sum(a[k] != b[k] for k in a)
said = open(ledger).read()
k = rows(kld)[-1]['kld_mean']
p = rows(parity)[-1]
where = f'layer {p["first_bad_layer"]}, {p["first_bad_kind"]}' if p['first_bad_kind'] else '-'
if p.get('first_bad_token') is not None:
    where += f', token {p["first_bad_token"]}'
if p.get('first_bad_expert') is not None:
    where += f', expert {p["first_bad_expert"]}'
tensors = f'{n} tensor' + 's' * (n > 1) if n else '-'
div = f'{k:.2g}' if k >= 1e-4 else '< 0.0001'
gate = said.rsplit('--fail-if ', 1)[1].strip() if said else '-'
print(f'| {name} | {tensors} | {gate} | {div}{", missed" if k >= 0.01 else ""} | {where} |')
PY
head -c 3000 $text > "$T/text"
# right MODEL: what the instruments compare with
right() {
	r=$(basename "$1")
	check "$r: bundle" keval parity -m "$1" -f $text --bundle "$T/$r.bundle"
	check "$r: reference" keval kld -m "$1" -f "$T/text" --save-ref "$T/$r.ref"
	check "$r: certificate" kconvert -q "$1" --certificate "$T/$r.cert" -o "$T/x.kmf"
	check "$r: the bars of the ledger" ledger "$1"
}
ledger() { kquant -q --fail-if 'zero_groups>0' --fail-if 'outlier>8' --fail-if 'rel_rms>0.15' "$1" -o "$T/x.kmf"; }
# instruments NAME MODEL LAYER KIND TOKEN EXPERT WHAT ARG...: a model with a defect before the four of them
instruments() {
	in=$1 im=$2 il=$3 ik=$4 it=$5 ie=$6; shift 6
	r=$(basename "$im")
	rm -rf "$T/d"
	plant "$im" "$T/d" "$@"
	exits "$in: parity" 1 keval parity --json -m "$T/d" -f "$T/$r.bundle"
	located "$in: located" "$il" "$ik" "$it" "$ie"
	cp "$T/.out" "$T/parity"
	check "$in: the conversion itself loses nothing" kconvert -q "$T/d" --require-lossless --certificate "$T/cert" -o "$T/x.kmf"
	ledger "$T/d" 2> "$T/ledger"
	keval kld --json -m "$T/d" -f "$T/text" --ref "$T/$r.ref" > "$T/kld" 2> "$T/.err" || fail "$in: kld" "$(cat "$T/.err")"
	row=$(python3 "$T/row.py" "$in" "$T/$r.cert" "$T/cert" "$T/ledger" "$T/kld" "$T/parity")
	if grep -qxF "$row" evals/defects.md; then ok "$in: the table"; else fail "$in: evals/defects.md" "has no row '$row'"; fi
}
nano=testdata/nano k2=testdata/tiny/kimi-k2-tiny
right $nano
instruments "layers 4 and 5 swapped" $nano 4 conv 0 None layers 4 5
check "its perplexity is the same" python3 -c 'import json,sys; assert abs([json.loads(l) for l in open(sys.argv[1])][-1]["ppl_ratio"] - 1) < 0.002' "$T/kld"
instruments "\`A_log\` of layer 5 holds the rate itself" $nano 5 state 1 None decay 5
instruments "convolution taps of layer 2 reversed" $nano 2 state 0 None taps 2
instruments "router bias of layer 2 zero" $nano 2 scores 0 None bias 2
instruments "routers by softmax instead of sigmoid" $nano 1 scores 0 None config moe_router_activation_func '"softmax"'
instruments "weights of experts not renormalised" $nano 1 weights 0 None config moe_renormalize false
instruments "\`w2\` of layer 6, expert 15 zero" $nano 6 hidden 0 15 zero 6 15
instruments "\`w1\` of layer 3, expert 5 transposed" $nano 3 hidden 5 5 transposed 3 5
instruments "sign of one weight of layer 3, expert 5" $nano 3 hidden 101 None bit 3 5
right $k2
instruments "YaRN ignored (a random model)" $k2 0 hidden 3 None config rope_scaling null

# No defect: what INT4 experts look like.
kquant -q $nano -o "$T/i4.kmf" 2> "$T/.err"
exits "INT4: parity" 1 keval parity --json -m "$T/i4.kmf" -f "$T/nano.bundle"
located "INT4: located" 1 hidden 0 None
keval kld --json -m "$T/i4.kmf" -f "$T/text" --ref "$T/nano.ref" > "$T/.out" 2> "$T/.err"
row=$(python3 -c 'import json,sys; print("divergence of %.2g" % [json.loads(l) for l in open(sys.argv[1])][-1]["kld_mean"])' "$T/.out")
grep -qF "$row" evals/defects.md && ok "INT4: the text" || fail "INT4: evals/defects.md" "does not say '$row'"
# An expert that no token of the bundle is routed to is not seen: the first that is, of layer 3's expert 5, is token 5.
check "five tokens" keval parity -m $nano -f $text --window 5 --bundle "$T/five"
rm -rf "$T/d"; plant $nano "$T/d" zero 3 5
exits "an expert that nothing is routed to" 0 keval parity -m "$T/d" -f "$T/five"
exits "and that something is" 1 keval parity --json -m "$T/d" -f "$T/nano.bundle"
located "and that something is" 3 hidden 5 5
finish
