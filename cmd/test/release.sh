#!/bin/bash
# release.sh: scripts/release.mk on nano: a whole release, one that misses its bar, one that is stopped; and the examples that make a
# container in parts.
. "$(dirname "$0")/lib.sh"
root=$(pwd)
command -v openssl > /dev/null || { skip release "no openssl to make a key"; finish; }
mkdir "$T/r" && cp -rL testdata/nano "$T/r/nano" && chmod -R u+w "$T/r/nano"
head -c 3000 testdata/nano/eval/prose.txt > "$T/r/text"
openssl ecparam -name prime256v1 -genkey -noout -out "$T/r/key.pem" 2> /dev/null && openssl ec -in "$T/r/key.pem" -pubout -out "$T/r/pub.pem" 2> /dev/null
cat > "$T/r/makefile" <<MK
K_KEY = key.pem
K_TEXT = text
K_PPL_BARS = ppl<60 tokens>100
K_LOSS_BARS = experts.rel_rms>0.3
K_QUANT_FLAGS = --preset k2-thinking --ledger \$*.ledger.jsonl
include $root/scripts/release.mk
MK
cd "$T/r" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
MAKE=$(command -v make) || { cd "$root"; skip release "no make"; finish; }
# A first release, parallel, stopped in the middle: nothing that is there is half.
(timeout -s INT 0.4 "$MAKE" -j4 nano.i4.kmf.sig; exit $?) > /dev/null 2>&1
for f in *.kmf; do [ -e "$f" ] && check "a stopped make leaves no half $f" kls --verify "$f"; done
for f in *.tmp.* *.new; do [ -e "$f" ] && fail "a stopped make" "$f is left"; done
check "a release" "$MAKE" -j4 nano.i4.kmf.sig nano.i4.kmf.manifest
for f in nano.kmf nano.i4.kmf nano.i4.ppl.jsonl nano.i4.kmf.sig nano.i4.kmf.manifest nano.ledger.jsonl; do [ -s $f ] && ok "$f" || fail release "no $f"; done
check "the signature" kls --check-sign pub.pem --sig nano.i4.kmf.sig nano.i4.kmf
check "the manifest" sha256sum -c nano.i4.kmf.manifest
kconvert "$root/testdata/nano" | kquant --preset k2-thinking > want.kmf && same "the container" want.kmf nano.i4.kmf
exits "a second make has nothing to do" 0 "$MAKE" -q nano.i4.kmf.sig nano.i4.kmf.manifest
# Another bar is another question; what was signed is not signed any more.
exits "a bar that is missed" 2 "$MAKE" nano.i4.kmf.sig 'K_PPL_BARS=ppl<2'
grep -q 'keval: .*ppl' "$T/.err" && ok "it says which" || fail "a missed bar" "$(cat "$T/.err")"
[ ! -e nano.i4.kmf.sig ] && [ ! -e nano.i4.ppl.jsonl ] && ok "no signature is left" || fail "a missed bar" "$(ls)"
[ -s nano.i4.ppl.jsonl.missed ] && ok "the report that missed is kept" || fail "a missed bar" "no report"
exits "make again, and it is missed again" 2 "$MAKE" -j4 nano.i4.kmf.sig 'K_PPL_BARS=ppl<2'
exits "a loss that is too large" 2 "$MAKE" nano.i4.kmf.sig 'K_LOSS_BARS=experts.rel_rms>0.001'
[ ! -e nano.i4.kmf.sig ] && ok "and nothing is signed" || fail "a loss" "there is a signature"
exits "no text to judge by" 2 "$MAKE" nano.i4.kmf.sig K_TEXT=
check "the first bars again" "$MAKE" -j4 nano.i4.kmf.sig
check "signed again" kls --check-sign pub.pem --sig nano.i4.kmf.sig nano.i4.kmf
if kconvert --to gguf nano.kmf -o probe.gguf 2> /dev/null; then
	check "gguf" "$MAKE" nano.gguf.sig
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
