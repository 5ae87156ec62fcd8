flags_avxvnni = -mavxvnni -mavx2 -mfma -mf16c -O3 -fno-trapping-math
need_avxvnni = avx2 fma f16c avxvnni
