#!/bin/sh
# synthetic.sh: models with made-up weights: what they are, that the bits follow from the seed alone, and how many layers fit.
. "$(dirname "$0")/lib.sh"
command -v jq > /dev/null || { echo "skipped: no jq"; exit 77; }
# is NAME JQ-CONDITION: of the lines in $T/out, as an array
is() { if jq -s -e "$2" "$T/out" > /dev/null; then ok "$1"; else fail "$1" "$2: $(cut -c 1-500 "$T/out" | tail -n 2)"; fi; }
rec() { rec_name=$1 want=$2; shift 2; exits "$rec_name" "$want" kbench "$@" --json; cp "$T/.out" "$T/out"; }
digest() { jq -r 'select(.summary) | .digest' "$T/out"; }

for name in kimi-linear:nano kimi-linear-mla:nano kimi-linear-bf16:nano kimi-k2:tiny kimi-k3:tiny; do
	rec "$name" 0 decode --synthetic $name --depth 0,1k -b 1,2 --tokens 3 --reps 1
	# Weights of a fresh model give logits that are numbers, and that the reference has too.
	is "$name: record" ".[-1] | .synthetic == \"$name\" and .layers == 8 and .layers_of == 8 and .vocab == 4096 and .ref_error <= .tolerance"
done
rec "one thread" 0 decode --synthetic kimi-linear:nano --depth 0,1k -b 1,2 --tokens 3 --reps 1 -j 1
one=$(digest)
rec "two threads" 0 decode --synthetic kimi-linear:nano --depth 0,1k -b 1,2 --tokens 3 --reps 1 -j 2
[ "$(digest)" = "$one" ] && ok "the same bits with one thread and two" || fail "threads" "$one, $(digest)"
rec "another seed" 0 decode --synthetic kimi-linear:nano --depth 0,1k -b 1,2 --tokens 3 --reps 1 --seed 5
[ "$(digest)" != "$one" ] && ok "other bits with another seed" || fail "seed" "$one twice"
rec "prefill" 0 prefill --synthetic kimi-linear:nano --tokens 40 --reps 1
is "prefill: record" '.[-1] | .what == "prefill" and .tok_s > 0 and .synthetic == "kimi-linear:nano"'
rec "load" 0 load --synthetic kimi-linear:nano --reps 1
is "load: record" '.[-1] | .ms > 0 and .synthetic == "kimi-linear:nano"'
rec "a prompt is computed when that is asked for" 0 decode --synthetic kimi-linear:nano --fill prompt --depth 300 --tokens 2 --reps 1
is "computed" '.[-1].tok_s > 0'
rec "two in turns" 0 decode --synthetic kimi-linear:nano,kimi-linear-mla:nano --depth 0,4k --tokens 2 --reps 2 --bar "ratio_least>0"
is "two: items" '[.[].item] == ["ratio depth 0 batch 1", "kimi-linear:nano depth 0 batch 1", "kimi-linear-mla:nano depth 0 batch 1", "ratio depth 4096 batch 1", "kimi-linear:nano depth 4096 batch 1", "kimi-linear-mla:nano depth 4096 batch 1", "reference", null]'
# Two of eight layers are attention: pages of 64 tokens, 160 numbers a layer and token; states of six layers, 2 heads of 128 x 128, do not grow.
is "two: caches" '.[4].kv_bytes * 4 == .[5].kv_bytes and .[4].state_bytes == .[1].state_bytes and .[5].state_bytes == 0 and .[4].state_bytes >= 6 * 2 * 128 * 128 * 4'
is "a token by parts" '.[1] | ([.weight_bytes_by_role[]] | add) == .bytes_per_token and .limit_frac > 0 and .step_bytes == .bytes_per_token + .moved_bytes and .moved_bytes < 2 * .state_bytes and .moved_bytes > .state_bytes / 2'
rec "shapes of other depths" 2 decode --synthetic kimi-linear:nano,kimi-k2:1t
# Four layers of 48B are more than 1 GiB.
rec "what does not fit" 6 decode --synthetic kimi-linear:48b --max-memory 1G
rec "what is no shape" 2 decode --synthetic kimi-linear:49b
grep -q 'kimi-k2:1t' "$T/.err" && ok "the sentence lists the shapes" || fail "sentence" "$(cat "$T/.err")"
rec "with a model" 2 decode --synthetic kimi-linear:nano -m testdata/nano
rec "without a use" 2 machine --synthetic kimi-linear:nano
rec "no way to fill" 2 decode --synthetic kimi-linear:nano --fill water
rec "no number" 2 decode --synthetic kimi-linear:nano --depth 1kk
finish
