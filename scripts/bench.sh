#!/bin/bash
# bench.sh: make bench. What the engine reaches on this machine beside what bounds it, a line a bar: what, at least, aim, measured, of what, verdict.
# Every ratio is taken in pairs within one run of kbench. Rows for AVX-512 say so on a CPU without it; the figure of the level that is there stands beside.
#
#   K_BENCH_REPS=9   K_BENCH_MEMORY=12G (of models with made-up weights; default: three quarters of what is available)   K_BENCH_ROWS='gemv mla'
cd "$(dirname "$0")/.." || exit 1
BIN=$(cd "${B:-build}/bin" && pwd) || exit 1
reps=${K_BENCH_REPS:-9} rows=${K_BENCH_ROWS:-gemv gemm kda mla decode hybrid load size batch}
memory=${K_BENCH_MEMORY:+--max-memory $K_BENCH_MEMORY}
T=$(mktemp -d "${TMPDIR:-/tmp}/ktools-bench.XXXXXX")
trap 'rm -rf "$T"' EXIT
command -v jq > /dev/null || { echo "bench.sh: jq is missing: make deps" >&2; exit 1; }
level=$("$BIN/kbench" machine --reps 3 --json | tee "$T/machine" | jq -r 'select(.summary) | .level')
missed=0

# row WHAT AT-LEAST AIM MEASURED BOUND: AT-LEAST "<=15" where less is better, "-" where there is no bar; MEASURED "" where nothing was.
row() {
	verdict=$(awk -v v="$4" -v bar="$2" 'BEGIN { less = sub(/^<=/, "", bar)
		print v == "" ? "not measured" : bar == "-" ? "" : (less ? v + 0 <= bar + 0 : v + 0 >= bar + 0) ? "ok" : "below" }')
	[ "$verdict" != below ] || missed=$((missed + 1))
	printf '%-58s %8s %8s %9s  %-44s %s\n' "$1" "$2" "$3" "${4:--}" "$5" "$verdict"
}
# bench FILE ARGS...: kbench's records; false, and why, where it fails
bench() { out=$T/$1; shift; "$BIN/kbench" "$@" --json > "$out" 2> "$T/err" || { why=$(tail -n 1 "$T/err"); return 1; }; }
# of FILE FILTER: a number, three digits
of() { jq -s -r "$2 | if type == \"number\" then (. * 1000 | round / 1000) else empty end" "$T/$1"; }
kernel() { of "$1" "[.[] | select(.name == \"$2\" and (.shape | test(\"$3\"))) | .limit_frac] | min"; }
wants() { case " $rows " in *" $1 "*) ;; *) return 1 ;; esac; }
no512='not on this CPU: AVX-512'
# decode_rows LEVEL AT-LEAST AIM ...: of bf16, int8 and f32
decode_rows() {
	l=$1
	shift
	bench "gemv-$l" kernels gemv_i4_bf16 gemv_i4_int8 gemv_i4_f32 --cpu "$l" -j 1 --reps "$reps" || echo "  $why"
	for act in bf16 int8 f32; do
		row "INT4 decode, $act, $l" "$1" "$2" "$(kernel "gemv-$l" "gemv_i4_$act" .)" "raw read, least of three shapes"
		shift 2
	done
}

jq -r 'select(.summary) | "\(.machine), level \(.level), \(.placement), read \(.read_gbs | round) GB/s, peaks f32 \(.peak_gops // 0 | round), bf16 \(.peak_bf16_gops // 0 | round), int8 \(.peak_int8_gops // 0 | round) G/s"' "$T/machine"
printf '%-58s %8s %8s %9s  %-44s\n' "(1 thread unless said; ratios)" 'at least' aim measured 'over'
if wants gemv; then
	if [ "$level" = avx2 ]; then
		row "INT4 decode, AVX-512" 0.88 0.92 "" "$no512"
	else
		decode_rows "$level" 0.88 0.92 0.90 0.95 0.60 0.80
	fi
	decode_rows avx2 0.70 0.80 0.70 0.80 0.70 0.80
fi
if wants gemm; then
	bench gemm kernels gemm_i4_int8 gemm_i4_bf16 gemm_i4_f32 gemm_bf16_bf16 -j 1 --reps "$reps" || echo "  $why"
	if [ "$level" = avx2 ]; then
		row "INT4 prefill, int8, VNNI" 0.60 0.70 "" "$no512"
		row "INT4 prefill, bf16, BF16 units" 0.80 0.88 "" "$no512"
	fi
	[ "$level" = avx2 ] && bar='- - - -' || bar='0.60 0.70 0.80 0.88'
	set -- $bar
	row "INT4 prefill, int8, 24 to 96 tokens, $level" $1 $2 "$(kernel gemm gemm_i4_int8 .)" "int8 peak of the level, least of three shapes"
	# The bar is on the peak of the CPU's products of pairs of bf16; the level may have better ones (kbench/limits.h).
	unit=$(jq -s '.[-1] | if .bf16_unit_gops then .peak_bf16_gops / .bf16_unit_gops else 1 end' "$T/machine")
	frac=$(kernel gemm gemm_i4_bf16 .)
	row "INT4 prefill, bf16, 24 to 96 tokens, $level" $3 $4 "$(awk -v f="$frac" -v u="$unit" 'BEGIN { if (f != "") printf "%.3f", f * u }')" \
		"products of pairs of bf16; $frac of the best peak"
	row "BF16 prefill, bf16, 8 to 96 tokens, $level" - - "$(kernel gemm gemm_bf16_bf16 .)" "bf16 peak of the level"
	row "INT4 prefill, f32, 24 to 96 tokens, $level" - - "$(kernel gemm gemm_i4_f32 .)" "f32 multiply-adds"
fi
if wants kda; then
	bench kda kernels kda_step kda_chunk -j 1 --reps "$reps" || echo "  $why"
	row "KDA decode, fused" 0.85 0.93 "$(kernel kda kda_step .)" "scaling the same state in place"
	row "KDA prefill" 0.526 0.894 "$(kernel kda kda_chunk .)" \
		"f32 multiply-adds; $(of kda '[.[] | select(.name == "kda_chunk") | .ns / 256 / 32] | min') ns a token and head"
fi
if wants mla; then
	bench mla kernels mla_decode -j 1 --reps "$reps" || echo "  $why"
	row "MLA decode at 32768" 0.65 0.80 "$(kernel mla mla_decode 32768)" "the slower of f32 multiply-adds and raw read"
fi
if wants decode; then
	bench whole decode --synthetic kimi-linear:48b -j 2 --reps "$reps" --tokens 16 $memory || echo "  $why"
	row "decode, 48B shape, 2 threads" 0.80 0.88 "$(of whole '.[-1].limit_frac')" \
		"bytes of a token, raw read; $(of whole .[-1].layers) of $(of whole .[-1].layers_of) layers"
	bench nano decode --synthetic kimi-linear:nano -j 2 --reps "$reps" || echo "  $why"
	row "decode, nano, 2 threads (in cache: no bar)" - - "$(of nano '.[-1].limit_frac')" "bytes of a token, raw read"
fi
if wants hybrid; then
	twins="decode --synthetic kimi-linear:48b,kimi-linear-mla:48b -j 2 --reps $reps --tokens 4 $memory"
	for depths in 1k,32k,128k 1k,32k; do
		bench hybrid $twins --depth $depths && break
		echo "  depths $depths: $why"
	done
	# A million tokens are 10 GB in f32.
	for act in f32 bf16; do
		bench million $twins --depth 1M --act $act && break
		echo "  depth 1M, $act: $why"
	done
	for d in 1024 32768 131072 1048576; do
		of=hybrid && [ $d = 1048576 ] && of=million
		at=".[] | select(.item == \"ratio depth $d batch 1\")"
		row "hybrid over all attention, at $d: over the byte model" 0.90 0.95 "$(of $of "$at | .ratio_frac")" \
			"$(of $of "$at | .ratio_bytes") by bytes; $(of $of '.[-1].layers') of $(of $of '.[-1].layers_of') layers, $([ $of = million ] && echo $act || echo f32)"
		bar=0.95 aim=- && [ $d = 1048576 ] && bar=3.3 aim=3.5
		row "hybrid over all attention, at $d: times as fast" $bar $aim "$(of $of "$at | .ratio")" "time of a token of each"
		case $d in 131072) bar='<=0.275' ;; 1048576) bar='<=0.265' ;; *) bar=- ;; esac
		row "hybrid over all attention, at $d: caches" "$bar" - "$(of $of "$at | .cache_ratio")" "bytes, slack included"
	done
fi
if wants load; then
	"$BIN/kconvert" -q testdata/nano -o "$T/nano.kmf" && bench load load -m "$T/nano.kmf" -j 2 --reps "$reps" || echo "  $why"
	row "exec to ready, warm, nano, ms" '<=15' 5 "$(of load '.[-1].exec_ms')" "kserve --stdio; cold: $(of load '.[-1].exec_ms_cold') ms"
fi
if wants size; then
	strip -o "$T/kserve" "$BIN/kserve" && size=$(($(stat -c %s "$T/kserve") / 1000))
	row "kserve, stripped, KB" '<=1500' 800 "$size" "$("$BIN/kserve" --version | sed -n 's/^levels: *\([^;]*\).*/\1/p')"
fi
if wants batch; then
	bench batch decode --synthetic kimi-linear:48b -b 1,8 -j 2 --reps "$reps" --tokens 8 $memory || echo "  $why"
	row "batch 8 over batch 1, 48B shape, 2 threads" 0.75 0.85 \
		"$(of batch '(.[1].tok_s / .[0].tok_s) / (8 * .[0].step_bytes / .[1].step_bytes)')" "the union of the experts, $(of batch '.[1].tok_s / .[0].tok_s') times"
fi
echo "$missed below what is asked for"
