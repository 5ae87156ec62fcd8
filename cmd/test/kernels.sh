#!/bin/bash
# kernels.sh: kbench kernels and machine: each kernel with its ratio, digests that only the level changes, names.
. "$(dirname "$0")/lib.sh"
names="gemv_i4_f32 gemv_i4_int8 gemm_bf16 moe kda_step mla_decode quant_i4"
run() { kbench kernels $names --max-memory 300M --json "$@" 2> "$T/.err"; }
if run --reps 1 -j 1 > "$T/one" && run --reps 2 -j 2 > "$T/two"; then ok "runs"; else fail "runs" "$(tail -n 1 "$T/.err")"; fi
digests() { jq -r 'select(.item) | [.item, .digest] | join(" ")' "$1"; }
check "threads and repetitions change no digest" test "$(digests "$T/one")" = "$(digests "$T/two")"
check "a record says what it is" jq -se 'map(select(.item)) | length == 16 and all(.[]; .ns > 0 and (.digest | length) == 64 and .item == .name + ":" + .shape)' "$T/one"
if grep -q '^flags.* avx2' /proc/cpuinfo 2> /dev/null; then
	check "each has its ratio" jq -se 'map(select(.item)) | all(.[]; .limit_frac > 0)' "$T/one"
	check "peaks of the level" jq -e '.read_gbs > 0 and .peak_gops > 0 and .peak_bf16_gops > 0 and .peak_int8_gops > 0' <(kbench machine --reps 1 --json)
	kbench kernels gemm_i4_int8 gemm_i4_bf16 gemm_i4_f32 --reps 1 -j 1 --max-memory 300M --json > "$T/peaks"
	check "products are held against the peak of their own kind" jq -se 'map(select(.item)) | map({(.name): .limit}) | add ==
		{gemm_i4_int8: "int8 peak", gemm_i4_bf16: "bf16 peak", gemm_i4_f32: "peak"}' "$T/peaks"
	check "each has its ratio to that" jq -se 'map(select(.item)) | length == 9 and all(.[]; .limit_frac > 0)' "$T/peaks"
else
	skip "ratios" "this CPU has no level with a peak"
fi
check "bars hold" kbench kernels gemv_i4_f32 --reps 1 --max-memory 300M --bar 'limit_frac>0' --json
exits "bars are missed" 1 kbench kernels gemv_i4_f32 --reps 1 --max-memory 300M --bar 'limit_frac>100' --json
exits "an unknown kernel" 2 kbench kernels gemv_i5
check "the reference has no peak, and says so" jq -se 'map(select(.item == "mla_decode:32x576 at 4096")) | .[0].limit_frac == null' \
	<(kbench kernels mla_decode --cpu ref --reps 1 --max-memory 300M --json)
models
check "nor has a model of instructions" jq -e '.peak_gops == null and .peak_int8_gops == null' <(kbench machine --cpu avx512sim --reps 1 --json)
finish
