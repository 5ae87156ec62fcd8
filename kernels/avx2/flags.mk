# Products are fused where the source says so, never by the compiler: contraction stays off.
flags_avx2 = -mavx2 -mfma -mf16c -O3 -fno-trapping-math
need_avx2 = avx2 fma f16c
