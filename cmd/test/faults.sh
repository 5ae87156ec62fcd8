#!/bin/sh
# faults.sh: fails the n-th allocation, then the n-th read or write, for every n that a small conversion and a small evaluation make:
# each ends in one sentence, the right exit status, without a leak and without a file, or with what it makes without a fault. A server whose memory or device fails answers all
# that wait (faults_client.py). The level is ref: kernels ask for nothing, and take long to compile with a sanitizer. Needs a build with -DK_FAULTS (K_FAULT_BIN;
# made here where there is none). Every K_FAULT_STEP-th n is tried: 43 by default, 1 in `make check-oom`.
. "$(dirname "$0")/lib.sh"
FB=${K_FAULT_BIN:-build/oom/bin}
${MAKE:-make} -s -j2 B=build/oom K_VARIANT='-fsanitize=address -fno-omit-frame-pointer -DK_FAULTS -DK_ASAN' \
	levels=ref sim= build/oom/bin/kconvert build/oom/bin/kquant build/oom/bin/keval build/oom/bin/kls build/oom/bin/kserve > "$T/log" 2>&1 || { skip faults "no build: $(grep -m1 error "$T/log")"; finish; }
step=${K_FAULT_STEP:-43}
tiny=testdata/tiny/kimi-linear-tiny-int4
printf 'the quick brown fox' > "$T/text"
"$FB/kconvert" "$tiny" -o "$T/tiny.kmf"
try() {         # try NAME KIND EXITS COMMAND...: KIND alloc or io
	name=$1 kind=$2 exits=$3; shift 3
	K_FAULT_COUNT=$T/count "$@" > /dev/null 2> "$T/err" || { fail "$name" "fails without a fault: $(tail -n 1 "$T/err")"; return; }
	total=$(sed -n "s/^$kind[a-z]* //p" "$T/count")
	[ -n "$total" ] || { fail "$name" "no count"; return; }
	# Reports say how long it took, signatures are never the same.
	rm -rf "$T/good" && mv "$T/out" "$T/good" 2> /dev/null
	"$@" > /dev/null 2>&1
	same=; diff -r "$T/out" "$T/good" > /dev/null 2>&1 && same=yes
	rm -rf "$T/out" "$T"/out.*
	n=1 bad=
	var=K_FAULT_$(echo "$kind" | tr a-z A-Z)
	while [ "$n" -le "$total" ]; do
		env "$var=$n" "$@" > /dev/null 2> "$T/err"
		status=$?
		case " $exits " in *" $status "*) ;; *) bad="$kind $n of $total: exit $status: $(tail -n 1 "$T/err")" ;; esac
		if [ $status -ne 0 ] && ! tail -n 1 "$T/err" | grep -q '^k[a-z]*: '; then bad="$kind $n of $total: no sentence"; fi
		if grep -q 'LeakSanitizer\|AddressSanitizer\|runtime error' "$T/err"; then bad="$kind $n of $total: $(grep -m1 'Sanitizer\|runtime error' "$T/err")"; fi
		if [ $status -eq 0 ] && [ "$same" ] && ! diff -r "$T/out" "$T/good" > /dev/null 2>&1; then bad="$kind $n of $total: exit 0, and not what it makes without a fault"; fi
		if [ $status -ne 0 ]; then for f in "$T/out" "$T"/out.*; do [ -e "$f" ] && bad="$kind $n of $total: $f is left"; done; fi
		rm -rf "$T/out" "$T"/out.*
		[ -n "$bad" ] && break
		n=$((n + step))
	done
	if [ -z "$bad" ]; then ok "$name: $total ($kind)"; else fail "$name" "$bad"; fi
}
# 0 is right where a failure has a fall-back (a log line that could not be written, memory that was not needed).
try "kconvert, allocations" alloc "0 6" "$FB/kconvert" -j 1 "$tiny" -o "$T/out"
try "kconvert, I/O" io "0 5" "$FB/kconvert" -j 1 "$tiny" -o "$T/out"
cp -R "$tiny" "$T/around" && chmod -R u+w "$T/around" && {
	printf '{"model_type": "kimi_k25", "text_config": '; cat "$tiny/config.json"; printf '}'; } > "$T/around/config.json"
try "kconvert --text-only, allocations" alloc "0 6" "$FB/kconvert" -j 1 --text-only "$T/around" -o "$T/out"
mkdir "$T/parts" && "$FB/kconvert" -q --part 1/1 "$tiny" -o "$T/parts/m"
try "kconvert --seal, I/O" io "0 5" sh -c 'rm -rf "$2" && cp -R "$1" "$2" && exec "$0" -j 1 --seal "$2/m"' "$FB/kconvert" "$T/parts" "$T/sealed"
"$FB/kconvert" --pack "$tiny" -o "$T/packed.kmf"
try "kconvert --pack, allocations" alloc "0 6" "$FB/kconvert" -j 1 --pack "$tiny" -o "$T/out"
try "kconvert --pack, I/O" io "0 5" "$FB/kconvert" -j 1 --pack "$tiny" -o "$T/out"
try "kconvert of a packed one, allocations" alloc "0 6" "$FB/kconvert" -j 1 "$T/packed.kmf" -o "$T/out"
try "kconvert --since, allocations" alloc "0 6" "$FB/kconvert" -j 1 --since "$T/packed.kmf" "$tiny" -o "$T/out"
try "kconvert --to gguf, allocations" alloc "0 6" "$FB/kconvert" -j 1 testdata/tiny/k3-tiny --to gguf -o "$T/out"
"$FB/kconvert" -q -j 1 testdata/tiny/k3-tiny --to gguf -o "$T/k3.gguf"
try "kconvert of a GGUF, allocations" alloc "0 6" "$FB/kconvert" -j 1 "$T/k3.gguf" -o "$T/out"
try "kquant, allocations" alloc "0 6" "$FB/kquant" -j 1 --rule dense=i4g32 "$T/tiny.kmf" -o "$T/out"
try "kquant, I/O" io "0 5" "$FB/kquant" -j 1 --rule dense=i4g32 "$T/tiny.kmf" -o "$T/out"
try "kquant --budget, a ledger" alloc "0 6" "$FB/kquant" -j 1 --budget 600K --fail-if 'outlier>1e9' --ledger "$T/out.l" testdata/tiny/kimi-linear-tiny -o "$T/out"
try "keval, allocations" alloc "0 6" "$FB/keval" ppl -j 1 -m "$T/tiny.kmf" -f "$T/text" --report "$T/out"
try "keval, I/O" io "0 5" "$FB/keval" ppl -j 1 -m "$T/tiny.kmf" -f "$T/text" --report "$T/out"
head -n 2 testdata/eval/choice.jsonl > "$T/q"
try "keval choice, allocations" alloc "0 6" "$FB/keval" choice -j 1 -m "$T/tiny.kmf" -f "$T/q" --report "$T/out"
try "keval prompts" alloc "0 6" "$FB/keval" prompts choice -f "$T/q" -o "$T/out"
openssl ecparam -name prime256v1 -genkey -noout -out "$T/key" && openssl ec -in "$T/key" -pubout -out "$T/pub" 2> /dev/null
"$FB/kls" --sign "$T/key" -o "$T/sig" "$T/tiny.kmf"
try "kls --sign, allocations" alloc "0 6" "$FB/kls" -j 1 --sign "$T/key" -o "$T/out" "$T/tiny.kmf"
try "kls --sign, I/O" io "0 5" "$FB/kls" -j 1 --sign "$T/key" -o "$T/out" "$T/tiny.kmf"
try "kls --check-sign, allocations" alloc "0 6" "$FB/kls" -j 1 --check-sign "$T/pub" --sig "$T/sig" --copy "$T/out" "$T/tiny.kmf"
try "kls --check-sign, I/O" io "0 5" "$FB/kls" -j 1 --check-sign "$T/pub" --sig "$T/sig" --copy "$T/out" "$T/tiny.kmf"
client server python3 "$(dirname "$0")/faults_client.py" "$FB/kserve" "$T/tiny.kmf" "$T" "$step"
finish
