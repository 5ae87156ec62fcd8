flags_avx512bf16 = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c -O3 -fno-trapping-math -mprefer-vector-width=512
need_avx512bf16 = avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512vnni avx512bf16
# Intel's cores do half as many products of pairs of bf16 as of f32, AMD's twice as many.
best_avx512bf16 = amd
