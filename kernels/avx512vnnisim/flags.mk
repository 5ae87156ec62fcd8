flags_avx512vnnisim = -mavx2 -mfma -mf16c -O1 -DUNROLL= -fno-trapping-math -Wno-psabi
need_avx512vnnisim = avx2 fma f16c
