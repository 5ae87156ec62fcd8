flags_avx512bf16sim = -mavx2 -mfma -mf16c -O1 -DUNROLL= -fno-trapping-math -Wno-psabi
need_avx512bf16sim = avx2 fma f16c
