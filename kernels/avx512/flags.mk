flags_avx512 = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -O3 -fno-trapping-math -mprefer-vector-width=512
need_avx512 = avx2 fma f16c avx512f avx512bw avx512vl avx512dq
