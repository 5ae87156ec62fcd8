# A model of the wide registers on AVX2, for kcheck. Nothing is written out: it would be much, and no faster.
flags_avx512sim = -mavx2 -mfma -mf16c -O1 -DUNROLL= -fno-trapping-math -Wno-psabi
need_avx512sim = avx2 fma f16c
