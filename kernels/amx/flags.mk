flags_amx = -mamx-tile -mamx-int8 -mamx-bf16 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c -O3 -fno-trapping-math -mprefer-vector-width=512
need_amx = avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512vnni avx512bf16 amx-tile amx-int8 amx-bf16
